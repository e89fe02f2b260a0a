"""Failure routes: failed executions, grouped by their errors."""

from api.auth.tenancy import TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.routes.base import resource_router
from api.schemas.failures import FailureGroupResponse, FailuresResponse
from api.schemas.listings import Limit, OrganizationFilter, WorkflowFilter

router = resource_router("/api/failures", "executions", StrictRoute)


@router.get("", operation_id="listFailures")
async def list_failures(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: OrganizationFilter = None,
    workflow_id: WorkflowFilter = None,
    limit: Limit = 50,
) -> FailuresResponse:
    """List failed executions in groups with the same error, the latest failure first."""
    groups = await services.database.failures.groups(
        scope.organization(organization_id), workflow_id, limit
    )
    return FailuresResponse(failures=[FailureGroupResponse.of_row(group) for group in groups])
