"""Execution listings: all executions, or those of one workflow, newest first."""

from fastapi import Response

from api.auth.tenancy import TenantScopeDep
from api.bodies.json_responses import encoded_page
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.pagination import parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.listings import (
    CreatedFrom,
    CreatedTo,
    Cursor,
    ExecutionsResponse,
    Limit,
    OrganizationFilter,
    ParentFilter,
    Statuses,
    WorkflowExecutionsResponse,
    WorkflowFilter,
)
from database.queries.results import ExecutionCursor, ExecutionFilter

router = resource_router("/api", "executions", StrictRoute)


EXECUTION_CHARS_ESTIMATE = 1_000
"""Approximate size of an execution in a list, in characters."""


@router.get(
    "/executions",
    operation_id="listExecutions",
    response_model=ExecutionsResponse,
    responses={422: {"model": ProblemDetails}},
)
async def list_executions(  # noqa: PLR0913, PLR0917 - one parameter for each field of the query
    services: ServicesDep,
    scope: TenantScopeDep,
    status: Statuses = [],  # noqa: B006 - FastAPI copies defaults
    organization_id: OrganizationFilter = None,
    workflow_id: WorkflowFilter = None,
    parent_execution_id: ParentFilter = None,
    created_from: CreatedFrom = None,
    created_to: CreatedTo = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List executions without payloads, also those that other programs created."""
    organization_id = scope.organization(organization_id)
    row_filter = ExecutionFilter(
        organization_id,
        workflow_id,
        frozenset(status),
        parent_execution_id,
        created_from,
        created_to,
    )
    page = await services.database.listings.executions(
        row_filter, limit, parse_cursor(ExecutionCursor, cursor)
    )
    return await encoded_page(ExecutionsResponse, "executions", page, EXECUTION_CHARS_ESTIMATE)


@router.get(
    "/workflows/{workflow_id}/executions",
    operation_id="listWorkflowExecutions",
    response_model=WorkflowExecutionsResponse,
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def list_workflow_executions(
    workflow_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the executions of a workflow."""
    workflow, page, total = await services.database.listings.executions_of(
        workflow_id, limit, parse_cursor(ExecutionCursor, cursor), scope.organization(None)
    )
    return await encoded_page(
        WorkflowExecutionsResponse,
        "executions",
        page,
        EXECUTION_CHARS_ESTIMATE,
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        total=total,
    )
