"""Bulk routes: start one action on many executions, and read its progress."""

import uuid
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import Header, Query, Response

from api.auth.api_keys import Role
from api.auth.tenancy import TenantScope, TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.pagination import encode_cursor, parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.bulk import (
    BulkFilterRequest,
    BulkItemResponse,
    BulkProgressResponse,
    BulkRequestBody,
    BulkResponse,
)
from api.schemas.listings import Cursor, Limit
from database import to_text
from database.bulk.records import BulkCursor, BulkFilter, BulkRequest
from engine.errors import ForbiddenError, InvalidRequestError, Problem
from engine.request_errors import BulkNotFoundError

router = resource_router("/api", "executions", StrictRoute)

ItemFilter = Annotated[
    Literal["pending", "succeeded", "failed"] | None,
    Query(alias="itemStatus", description="Only items with this status."),
]


@router.post(
    "/executions/bulk",
    operation_id="startBulk",
    status_code=HTTPStatus.ACCEPTED,
    responses={422: {"model": ProblemDetails}},
)
async def start_bulk(
    request: BulkRequestBody,
    services: ServicesDep,
    scope: TenantScopeDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> BulkResponse:
    """Store an action on many executions. It is applied in the background.

    The same `Idempotency-Key` and body return the same operation, for 30 days. `delete` requires
    the role `admin`.
    """
    operation = _operation(request, scope, idempotency_key)
    if request.action == "delete" and scope.caller.role < Role.ADMIN:
        raise ForbiddenError("The action 'delete' requires the role 'admin'")
    if request.dry_run:
        return BulkResponse(
            bulk_id=None, matched=await services.database.bulk.count(operation), dry_run=True
        )
    receipt = await services.bulk.create(operation)
    response.headers["Location"] = f"/api/bulk/{receipt.id}"
    return BulkResponse(bulk_id=receipt.id, matched=receipt.matched)


@router.get(
    "/bulk/{bulk_id}",
    operation_id="getBulk",
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def get_bulk(
    bulk_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    item_status: ItemFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> BulkProgressResponse:
    """Return the progress of a bulk operation, with a page of its executions."""
    store = services.database.bulk
    after = parse_cursor(BulkCursor, cursor)
    progress = await store.progress(bulk_id)
    own = scope.organization(None)
    if own is not None and progress.organization_id != own:
        raise BulkNotFoundError(bulk_id)
    page = await store.items(bulk_id, item_status, limit, after)
    processed = progress.succeeded + progress.failed
    return BulkProgressResponse(
        bulk_id=progress.id,
        organization_id=progress.organization_id,
        action=progress.action,
        definition=progress.definition,
        status="running" if progress.completed_at is None else "completed",
        matched=progress.matched,
        processed=processed,
        succeeded=progress.succeeded,
        failed=progress.failed,
        percentage=100 * processed // progress.matched if progress.matched else 100,
        created_at=progress.created_at,
        completed_at=progress.completed_at,
        items=[BulkItemResponse.of_row(item) for item in page.items],
        next_cursor=encode_cursor(page.end),
    )


def _operation(request: BulkRequestBody, scope: TenantScope, key: str | None) -> BulkRequest:
    if (request.ids is None) == (request.filter is None):
        detail = "either 'ids' or 'filter' is required, and not both"
        raise InvalidRequestError([Problem("conflicting_fields", detail, "/filter")])
    wanted = request.filter or BulkFilterRequest()
    found = BulkFilter(
        wanted.workflow_id,
        frozenset(wanted.status or ()),
        wanted.failure,
        None if wanted.created_from is None else to_text(wanted.created_from),
        None if wanted.created_to is None else to_text(wanted.created_to),
        wanted.include_rerun,
    )
    conditions = (found.workflow_id, found.statuses, found.failure)
    if request.ids is None and not any((*conditions, found.created_from, found.created_to)):
        detail = "an empty filter would match all executions; add a condition"
        raise InvalidRequestError([Problem("empty_filter", detail, "/filter")])
    return BulkRequest(
        str(uuid.uuid4()),
        request.action,
        scope.organization(wanted.organization_id),
        None if request.ids is None else tuple(request.ids),
        found,
        request.definition,
        sha256(request.model_dump_json().encode()).hexdigest(),
        key,
    )
