"""Service schemas: the status of the service."""

from typing import Literal

from api.schemas.base import ApiModel


class ServiceStatus(ApiModel):
    """``GET /``."""

    service: str = "Workflow Orchestration Service"
    status: Literal["running"] = "running"
    version: str
    timestamp: str
    docs: str = "/docs"
