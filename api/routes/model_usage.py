"""Model usage routes: tokens and cost of the model nodes of executions and workflows."""

from api.auth.tenancy import TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.listings import Limit
from api.schemas.model_usage import (
    ExecutionUsageResponse,
    WorkflowUsageResponse,
    execution_usage,
    workflow_usage,
)

router = resource_router("/api", "executions", StrictRoute)


@router.get(
    "/executions/{execution_id}/usage",
    operation_id="getExecutionUsage",
    responses={404: {"model": ProblemDetails}},
)
async def get_execution_usage(execution_id: str, services: ServicesDep) -> ExecutionUsageResponse:
    """Return the tokens that the model nodes of an execution used, and their cost."""
    await services.database.queries.execution(execution_id)
    usages = await services.database.model_usages.of_executions([execution_id])
    return execution_usage(execution_id, usages, services.model_prices)


@router.get(
    "/workflows/{workflow_id}/usage",
    operation_id="getWorkflowUsage",
    responses={404: {"model": ProblemDetails}},
)
async def get_workflow_usage(
    workflow_id: str, services: ServicesDep, scope: TenantScopeDep, limit: Limit = 50
) -> WorkflowUsageResponse:
    """Return the tokens of those of the last executions of a workflow that used a model."""
    _, page, _ = await services.database.listings.executions_of(
        workflow_id, limit, None, scope.organization(None)
    )
    ids = [execution.id for execution in page.items]
    usages = await services.database.model_usages.of_executions(ids)
    return workflow_usage(workflow_id, ids, usages, services.model_prices)
