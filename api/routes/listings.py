"""Executions in lists: all of them, or a workflow's, newest first."""

from fastapi import APIRouter, Response

from api.auth.tenancy import TenantScopeDep
from api.bodies.json_responses import encoded_model
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.pagination import encode_place, execution_place
from api.schemas.executions import ProblemDetails
from api.schemas.listings import (
    Cursor,
    ExecutionsResponse,
    ExecutionSummaryResponse,
    Limit,
    ListedExecutionResponse,
    OfOrganization,
    OfParent,
    OfWorkflow,
    Statuses,
    WorkflowExecutionsResponse,
)
from database.queries.listings import Page
from database.queries.results import ExecutionCursor, ExecutionFilter, ExecutionSummary
from database.records import Workflow

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictRoute)


EXECUTION_CHARS_ESTIMATE = 1_000
"""About the size of an execution in a list."""


@router.get(
    "/executions",
    operation_id="listExecutions",
    response_model=ExecutionsResponse,
    responses={422: {"model": ProblemDetails}},
)
async def list_executions(  # noqa: PLR0913, PLR0917 - by name, each a field of the query
    services: ServicesDep,
    scope: TenantScopeDep,
    status: Statuses = [],  # noqa: B006 - FastAPI copies defaults
    organization_id: OfOrganization = None,
    workflow_id: OfWorkflow = None,
    parent_execution_id: OfParent = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Executions, newest first, without payloads; also those that other programs made."""
    organization_id = scope.organization(organization_id)
    wanted = ExecutionFilter(organization_id, workflow_id, frozenset(status), parent_execution_id)
    page = await services.database.listings.executions(wanted, limit, execution_place(cursor))
    size = EXECUTION_CHARS_ESTIMATE * len(page.items)
    return await encoded_model(size, lambda: _executions_view(page))


def _executions_view(page: Page[ExecutionSummary, ExecutionCursor]) -> ExecutionsResponse:
    return ExecutionsResponse(
        executions=[
            ListedExecutionResponse(
                id=execution.id,
                workflow_id=execution.workflow_id,
                workflow_name=execution.workflow_name,
                organization_id=execution.organization_id,
                status=execution.status,
                trigger_type=execution.trigger_type,
                created_at=execution.created_at,
                started_at=execution.started_at,
                completed_at=execution.completed_at,
                error=execution.error,
                rerun_of=execution.rerun_of,
                parent_execution_id=execution.parent_execution_id,
            )
            for execution in page.items
        ],
        next_cursor=encode_place(page.end),
    )


# ``path``: an id may hold a slash, and servers hand paths over decoded.
@router.get(
    "/workflows/{workflow_id:path}/executions",
    operation_id="listWorkflowExecutions",
    response_model=WorkflowExecutionsResponse,
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def list_executions_of_a_workflow(
    workflow_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The workflow's executions, newest first."""
    workflow, page, total = await services.database.listings.executions_of(
        workflow_id, limit, execution_place(cursor), scope.organization(None)
    )
    size = EXECUTION_CHARS_ESTIMATE * len(page.items)
    return await encoded_model(size, lambda: _workflow_executions_view(workflow, page, total))


def _workflow_executions_view(
    workflow: Workflow, page: Page[ExecutionSummary, ExecutionCursor], total: int
) -> WorkflowExecutionsResponse:
    return WorkflowExecutionsResponse(
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        executions=[
            ExecutionSummaryResponse(
                id=execution.id,
                workflow_id=execution.workflow_id,
                status=execution.status,
                created_at=execution.created_at,
                started_at=execution.started_at,
                completed_at=execution.completed_at,
                error=execution.error,
            )
            for execution in page.items
        ],
        total=total,
        next_cursor=encode_place(page.end),
    )
