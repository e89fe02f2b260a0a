"""Router of a resource: its dependencies check the query and the tenant of each request."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from api.auth.tenancy import require_tenant_access
from api.query_names import reject_misspelled_parameters
from api.schemas.base import ProblemDetails

STORAGE_ERROR_STATUSES = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)
"""Statuses of every operation that uses the database."""


def storage_errors() -> dict[int | str, dict[str, Any]]:
    """Return the responses of every operation that uses the database."""
    return {status.value: {"model": ProblemDetails} for status in STORAGE_ERROR_STATUSES}


def resource_router(prefix: str, tag: str, route_class: type[APIRoute] = APIRoute) -> APIRouter:
    """Return a router without routes for the operations of a resource."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=route_class,
        dependencies=[Depends(reject_misspelled_parameters), Depends(require_tenant_access)],
        responses=storage_errors(),
    )
