"""The service itself: is it there?"""

from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Response

from api.schemas.executions import ServiceStatus
from database import to_text
from version import VERSION

router = APIRouter(tags=["service"])


@router.get("/", operation_id="getServiceStatus")
@router.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
async def read_status() -> ServiceStatus:
    """Answers as soon as the service takes executions."""
    return ServiceStatus(version=VERSION, timestamp=to_text(datetime.now(UTC)))


@router.api_route("/favicon.ico", methods=["GET", "HEAD"], include_in_schema=False)
async def read_icon() -> Response:
    """The service has no icon; browsers that request one get an empty response."""
    return Response(
        status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "public, max-age=86400"}
    )
