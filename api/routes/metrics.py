"""Metrics route: measurements of this process and of the queue for Prometheus."""

from fastapi import Response

from api.auth.tenancy import TenantScopeDep
from api.dependencies import ServicesDep
from api.routes.base import resource_router
from engine.errors import ForbiddenError
from metrics import CONTENT_TYPE

router = resource_router("", "service")


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Metrics in Prometheus' text format",
        }
    },
)
async def get_metrics(services: ServicesDep, scope: TenantScopeDep) -> Response:
    """Return the metrics of this process and of the queue.

    With keys, they require a key of all organizations, because the numbers include all of them.
    """
    if scope.caller.organization_id is not None:
        raise ForbiddenError(
            f"The metrics include all organizations; the key '{scope.caller.name}' is for one"
        )
    await services.queue_watch.refresh()
    others = await services.executor_families()
    return Response(services.metrics.render(others), media_type=CONTENT_TYPE)
