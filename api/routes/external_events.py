"""Event routes: accept events from outside."""

from typing import Annotated

from fastapi import Header

from api.auth.tenancy import TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.external_events import EventResponse, SendEventRequest
from flows.intake.external_events import EventRequest

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
