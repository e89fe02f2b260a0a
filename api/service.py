"""The service itself: is it there?"""

from datetime import UTC, datetime

from fastapi import APIRouter

from api.schemas import ServiceStatus
from database import to_text
from version import VERSION

router = APIRouter(tags=["service"])


@router.get("/", operation_id="readStatus")
async def read_status() -> ServiceStatus:
    """Answers as soon as the service takes executions."""
    return ServiceStatus(version=VERSION, timestamp=to_text(datetime.now(UTC)))
