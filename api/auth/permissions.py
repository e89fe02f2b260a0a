"""Route permissions: the role, and the kind of credential, that each route requires.

A route that no table of this module lists requires a key. If it changes state, it requires the role
``admin``.
"""

import re
from collections.abc import Iterable
from functools import cache

from starlette.routing import compile_path

from api.auth.api_keys import Role

PUBLIC_ROUTES = (
    "GET /",
    "* /health",
    "* /healthz",
    "* /health/live",
    "* /health/ready",
    "* /favicon.ico",
    "* /ui",
    "* /ui/{path:path}",
    "* /task/{token}",
    "* /api/webhook/{workflow_id}",
    "* /api/webhook/{workflow_id}/{token}",
)
"""Routes without a key: health checks, files of the run page, pages of tasks with signed
links, and webhooks with own secrets."""
ROUTE_ROLES: dict[str, Role] = {
    "POST /api/workflows/execute": Role.RUN,
    "POST /api/workflows/validate": Role.READ,
    # Its action ``delete`` requires ``admin``, which the route checks.
    "POST /api/executions/bulk": Role.RUN,
    "POST /api/executions/{execution_id}/cancel": Role.RUN,
    "POST /api/executions/{execution_id}/rerun": Role.RUN,
    "POST /api/executions/{execution_id}/nodes/{node_id}/resume": Role.RUN,
    "POST /api/executions/{execution_id}/token": Role.READ,
    "POST /api/nodes/execute": Role.RUN,
    "POST /api/events": Role.RUN,
    "POST /api/tasks/{task_id}/complete": Role.RUN,
    "POST /api/tasks/{task_id}/links": Role.RUN,
    "POST /api/schedules/{schedule_id}/pause": Role.RUN,
    "POST /api/schedules/{schedule_id}/resume": Role.RUN,
    "POST /api/schedules/{schedule_id}/backfill": Role.RUN,
}
"""Roles of the routes that require less than ``admin``, although their method is not safe."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKEN_ROUTES = (
    "GET /api/executions/{execution_id}",
    "GET /api/executions/{execution_id}/logs",
    "GET /api/executions/{execution_id}/stream",
)
"""Routes that accept a token for one execution; the WebSocket accepts it too."""
QUERY_TOKEN_ROUTES = ("GET /api/executions/{execution_id}/stream",)
"""Routes that accept ``?token=``, because browsers open them without headers."""


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """Return the pattern with which the application's router matches a path."""
    return compile_path(path)[0]


def _find(routes: Iterable[str], method: str, path: str) -> str | None:
    """Return the first of these routes, such as ``GET /path/{name}``, that matches a request."""
    for route in routes:
        accepted, _, template = route.partition(" ")
        if accepted in ("*", method) and _pattern(template).match(path):
            return route
    return None


def is_public(method: str, path: str) -> bool:
    """Return whether a request requires no key."""
    return _find(PUBLIC_ROUTES, method, path) is not None


def accepts_token(method: str, path: str) -> bool:
    """Return whether a request may use a token for one execution."""
    return _find(TOKEN_ROUTES, method, path) is not None


def accepts_query_token(method: str, path: str) -> bool:
    """Return whether a request may have its token in the query."""
    return _find(QUERY_TOKEN_ROUTES, method, path) is not None


def required_role(method: str, path: str) -> Role:
    """Return the role that a request requires."""
    if method in SAFE_METHODS:
        return Role.READ
    route = _find(ROUTE_ROLES, method, path)
    return Role.ADMIN if route is None else ROUTE_ROLES[route]
