"""Event routes: accept events from outside, and list and delete those that are kept."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Header, Response

from api.auth.tenancy import TenantScopeDep
from api.bodies.json_responses import encoded_page
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.pagination import parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.external_events import EventResponse, KeptEventsResponse, SendEventRequest
from api.schemas.listings import Cursor, Limit, OrganizationFilter
from database.queries.results import KeptEventCursor
from flows.intake.external_events import EventRequest

KEPT_EVENT_CHARS_ESTIMATE = 250
"""Approximate size of an event in a list, in characters."""

router = resource_router("/api/events", "executions", StrictRoute)


@router.post(
    "",
    operation_id="sendEvent",
    responses={status: {"model": ProblemDetails} for status in (422, 429)},
)
async def send_event(
    request: SendEventRequest,
    services: ServicesDep,
    scope: TenantScopeDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> EventResponse:
    """Resume every node that waits for the event, or keep it for the next node that does.

    The same `Idempotency-Key` and body return the same event, and deliver it once.
    """
    event = EventRequest(
        scope.organization(request.organization_id),
        request.name,
        request.key,
        request.payload,
        idempotency_key,
    )
    receipt = await services.events.accept(event)
    return EventResponse.of_row(receipt, event_id=receipt.id)


@router.get(
    "/kept",
    operation_id="listKeptEvents",
    response_model=KeptEventsResponse,
    responses={422: {"model": ProblemDetails}},
)
async def list_kept_events(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: OrganizationFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the events that no node has received yet, newest first, without their payloads."""
    page = await services.database.kept_events.page(
        scope.organization(organization_id), limit, parse_cursor(KeptEventCursor, cursor)
    )
    return await encoded_page(KeptEventsResponse, "events", page, KEPT_EVENT_CHARS_ESTIMATE)


@router.delete(
    "/kept/{event_id}",
    operation_id="deleteKeptEvent",
    status_code=HTTPStatus.NO_CONTENT,
    responses={404: {"model": ProblemDetails}},
)
async def delete_kept_event(event_id: str, services: ServicesDep, scope: TenantScopeDep) -> None:
    """Delete a kept event, so that no node receives it, and its `Idempotency-Key`."""
    await services.database.kept_events.delete(event_id, scope.organization(None))
