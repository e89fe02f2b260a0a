"""Service routes: the status of the service, health checks and the icon."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Response

from api.dependencies import ServicesDep
from api.schemas.base import ApiModel, ProblemDetails
from database import to_text
from engine.errors import NotReadyError
from version import VERSION

router = APIRouter(tags=["service"])


class ServiceStatus(ApiModel):
    """``GET /``."""

    service: str = "Workflow Orchestration Service"
    status: Literal["running"] = "running"
    version: str
    timestamp: str
    docs: str = "/docs"


@router.get("/", operation_id="getServiceStatus")
@router.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
async def get_status() -> ServiceStatus:
    """Return the status; the service responds as soon as it accepts executions."""
    return ServiceStatus(version=VERSION, timestamp=to_text(datetime.now(UTC)))


class HealthStatus(ApiModel):
    """A successful health check."""

    status: Literal["live", "ready"]


_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ProblemDetails}}


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", operation_id="getLiveness", responses=_NOT_READY)
async def get_liveness(services: ServicesDep) -> HealthStatus:
    """Return 503 if only a restart of the process helps, because its worker has ended."""
    if services.worker.has_ended and not services.broadcaster.closing:
        raise NotReadyError("the worker has ended")
    return HealthStatus(status="live")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", operation_id="getReadiness", responses=_NOT_READY)
async def get_readiness(services: ServicesDep) -> HealthStatus:
    """Return whether the service can accept and run executions now, otherwise 503 and the reason.

    It is not ready if the database does not commit a write in time, if the worker does not respond,
    and while it shuts down.
    """
    if (reason := await services.readiness.failure()) is not None:
        raise NotReadyError(reason)
    return HealthStatus(status="ready")


@router.api_route("/favicon.ico", methods=["GET", "HEAD"], include_in_schema=False)
async def get_icon() -> Response:
    """Return an empty response, because the service has no icon."""
    return Response(
        status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "public, max-age=86400"}
    )
