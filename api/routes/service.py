"""Service routes: the status of the service, health checks and the icon."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response

from api.schemas.base import ApiModel
from database import to_text
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


@router.api_route("/favicon.ico", methods=["GET", "HEAD"], include_in_schema=False)
async def get_icon() -> Response:
    """Return an empty response, because the service has no icon."""
    return Response(
        status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "public, max-age=86400"}
    )
