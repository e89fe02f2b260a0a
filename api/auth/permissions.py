"""Route permissions: the role, and the kind of credential, that each route requires.

A route that no table of this module lists requires a key. If it changes state, it requires the role
``admin``.
"""

import re
from collections.abc import Iterable

from starlette.routing import compile_path

from api.auth.api_keys import Role

PUBLIC_ROUTES = (
    "GET /",
    "* /health",
    "* /healthz",
    "* /favicon.ico",
    "* /api/webhook/{workflow_id}",
    "* /api/webhook/{workflow_id}/{token}",
)
"""Routes that require no key: liveness, the icon, and webhooks, which have their own secrets."""
ROUTE_ROLES: dict[str, Role] = {
    "POST /api/workflows/execute": Role.RUN,
    "POST /api/workflows/validate": Role.READ,
    "POST /api/executions/{execution_id}/cancel": Role.RUN,
    "POST /api/executions/{execution_id}/rerun": Role.RUN,
    "POST /api/executions/{execution_id}/nodes/{node_id}/resume": Role.RUN,
    "POST /api/executions/{execution_id}/token": Role.READ,
    "POST /api/nodes/execute": Role.RUN,
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


class _RouteMatcher:
    """Matches paths with routes such as ``GET /path/{name}``, as the application's router does."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._patterns = [(route, *self._compile(route)) for route in routes]

    @staticmethod
    def _compile(route: str) -> tuple[str, re.Pattern[str]]:
        method, path = route.split(" ")
        return method, compile_path(path)[0]

    def find(self, method: str, path: str) -> str | None:
        for route, accepted, pattern in self._patterns:
            if accepted in ("*", method) and pattern.match(path):
                return route
        return None


_PUBLIC_ROUTES = _RouteMatcher(PUBLIC_ROUTES)
_ROUTE_ROLES = _RouteMatcher(ROUTE_ROLES)
_TOKEN_ROUTES = _RouteMatcher(TOKEN_ROUTES)
_QUERY_TOKEN_ROUTES = _RouteMatcher(QUERY_TOKEN_ROUTES)


def is_public(method: str, path: str) -> bool:
    """Return whether a request requires no key."""
    return _PUBLIC_ROUTES.find(method, path) is not None


def accepts_token(method: str, path: str) -> bool:
    """Return whether a request may use a token for one execution."""
    return _TOKEN_ROUTES.find(method, path) is not None


def accepts_query_token(method: str, path: str) -> bool:
    """Return whether a request may have its token in the query."""
    return _QUERY_TOKEN_ROUTES.find(method, path) is not None


def required_role(method: str, path: str) -> Role:
    """Return the role that a request requires."""
    if method in SAFE_METHODS:
        return Role.READ
    route = _ROUTE_ROLES.find(method, path)
    return Role.ADMIN if route is None else ROUTE_ROLES[route]
