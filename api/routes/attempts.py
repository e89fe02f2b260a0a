"""Attempt routes: when the attempts of node runs started, and when they were parked."""

from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.routes.base import resource_router
from api.schemas.attempts import AttemptsResponse, SegmentResponse
from api.schemas.base import ProblemDetails

router = resource_router("/api", "executions", StrictRoute)


@router.get(
    "/executions/{execution_id}/attempts",
    operation_id="getExecutionAttempts",
    responses={404: {"model": ProblemDetails}},
)
async def get_execution_attempts(execution_id: str, services: ServicesDep) -> AttemptsResponse:
    """Return the attempts and the waits of node runs that had several attempts or waited."""
    await services.database.queries.execution(execution_id)
    segments = await services.database.attempts.of_execution(execution_id)
    return AttemptsResponse(
        execution_id=execution_id, segments=[SegmentResponse.of_row(part) for part in segments]
    )
