"""Who calls, and what a caller may: one door before every route, closed unless it is opened here.

A route that is not named in a table of this module is for callers with a key, and one that does
more than read is for those with the role ``admin``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.api_keys import ApiKeys, Role
from api.auth.tokens import Tokens
from api.errors import problem

PUBLIC = (
    "GET /",
    "* /health",
    "* /healthz",
    "* /favicon.ico",
    "* /api/webhook/{rest:path}",
)
"""Routes that need no key: liveness, the icon, and webhooks, which have secrets of their own."""
ROLES: dict[str, Role] = {
    "POST /api/workflows/execute": Role.RUN,
    "POST /api/workflows/validate": Role.READ,
    "POST /api/executions/{execution_id}/cancel": Role.RUN,
    "POST /api/executions/{execution_id}/rerun": Role.RUN,
    "POST /api/executions/{execution_id}/nodes/{node_id:path}/resume": Role.RUN,
    "POST /api/executions/{execution_id}/token": Role.READ,
    "POST /api/nodes/execute": Role.RUN,
}
"""What callers need who are no ``admin``, where the method does not say that they only read."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKEN_ROUTES = (
    "GET /api/executions/{execution_id}",
    "GET /api/executions/{execution_id}/logs",
    "GET /api/executions/{execution_id}/stream",
)
"""All that a token for one execution opens, beside the WebSocket."""
TOKEN_IN_QUERY = ("GET /api/executions/{execution_id}/stream",)
"""Where a token may stand in ``?token=``: what browsers open without headers."""
WEBSOCKET = "/ws"
"""Lets callers in who say in their first message who they are."""
REALM = "Bearer"


SECURITY_SCHEMES = [
    Depends(HTTPBearer(auto_error=False, description="A key, or a token for one execution.")),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
]
"""Tells the OpenAPI document what ``AuthMiddleware`` asks for; they refuse nobody themselves."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may come in."""

    name: str
    role: Role
    organization_id: str | None = None
    """The organization beyond which the caller sees nothing; ``None`` for all."""
    execution_id: str | None = None
    """The one execution that the caller sees, by a token."""
    expires_at: datetime | None = None
    """When the caller has to go."""


ANONYMOUS = Caller("anybody", Role.ADMIN)
"""Who calls where no keys are set, or where none is needed."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Tells who somebody is by what is shown."""

    keys: ApiKeys
    tokens: Tokens

    @property
    def open(self) -> bool:
        """Whether everybody may do everything."""
        return not self.keys.keys

    def caller_of(self, shown: bytes) -> Caller | None:
        """Whose key or token it is; ``None`` for nobody's."""
        key = self.keys.find(shown)
        if key is not None:
            return Caller(key.name, key.role, key.organization_id)
        return self.bearer_of(shown)

    def bearer_of(self, shown: bytes) -> Caller | None:
        """Who holds this token; ``None`` where it is none, or has expired."""
        token = self.tokens.read(shown.decode("ascii", "replace"))
        if token is None:
            return None
        return Caller("token", Role.READ, None, token.execution_id, token.expires_at)


class _RouteMatcher:
    """Routes, each as ``METHOD /path/{with}/{places}``, matched as the application's own are."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._patterns = [(route, *self._compiled(route)) for route in routes]

    @staticmethod
    def _compiled(route: str) -> tuple[str, re.Pattern[str]]:
        method, path = route.split(" ")
        return method, compile_path(path)[0]

    def find(self, method: str, path: str) -> str | None:
        for route, wanted, pattern in self._patterns:
            if wanted in ("*", method) and pattern.match(path):
                return route
        return None


_PUBLIC, _ROLES, _TOKEN_ROUTES = (
    _RouteMatcher(PUBLIC),
    _RouteMatcher(ROLES),
    _RouteMatcher(TOKEN_ROUTES),
)
_TOKEN_IN_QUERY = _RouteMatcher(TOKEN_IN_QUERY)


class AuthMiddleware:
    """The middleware that finds out who calls, before anything of the request is read.

    Behind it ``scope["caller"]`` says who; on the WebSocket ``None`` where nothing was shown yet.
    """

    def __init__(self, app: ASGIApp, access: Authenticator) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the caller in, or answers in place of the application."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
        elif scope["type"] == "websocket":
            refusal = self._websocket_refusal(scope)
        else:
            refusal = None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        if self._access.open or _PUBLIC.find(method, path):
            scope["caller"] = ANONYMOUS
            return None
        shown = _shown(scope)
        caller = None if shown is None else self._access.caller_of(shown)
        if shown is None and _TOKEN_IN_QUERY.find(method, path):
            shown = _token_in_query(scope)
            caller = None if shown is None else self._access.bearer_of(shown)
        if caller is None:
            return _unknown(shown)
        scope["caller"] = caller
        if caller.execution_id is not None and not _TOKEN_ROUTES.find(method, path):
            return _forbidden("A token reads the one execution that it was made for")
        needed = _role_for(method, path)
        if caller.role < needed:
            wanted = f"needs the role '{needed.name.lower()}'"
            return _forbidden(f"This {wanted}; the key '{caller.name}' is for less")
        return None

    def _websocket_refusal(self, scope: Scope) -> ASGIApp | None:
        if self._access.open:
            scope["caller"] = ANONYMOUS
            return None
        if scope["path"] != WEBSOCKET:
            return _unknown(None)
        shown, in_query = _shown(scope), _token_in_query(scope)
        scope["caller"] = None
        if shown is not None:
            scope["caller"] = self._access.caller_of(shown)
        elif in_query is not None:
            scope["caller"] = self._access.bearer_of(in_query)
        scope["shown"] = shown is not None or in_query is not None
        return None


def _role_for(method: str, path: str) -> Role:
    if method in SAFE_METHODS:
        return Role.READ
    route = _ROLES.find(method, path)
    return Role.ADMIN if route is None else ROLES[route]


def _shown(scope: Scope) -> bytes | None:
    """What a request shows in its headers: ``X-API-Key``, or else a bearer's."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    key = headers.get(b"x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
    return shown.strip() if scheme.lower() == b"bearer" else None


def _token_in_query(scope: Scope) -> bytes | None:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
    return given[-1].encode() if given else None


def _unknown(shown: bytes | None) -> ASGIApp:
    if shown is None:
        detail = "A key is needed: 'Authorization: Bearer …' or 'X-API-Key: …'"
        return problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": REALM})
    told = {"WWW-Authenticate": f'{REALM} error="invalid_token"'}  # RFC 6750, section 3
    detail = "There is no such key, or the token is wrong or has expired"
    return problem(HTTPStatus.UNAUTHORIZED, detail, told)


def _forbidden(detail: str) -> ASGIApp:
    return problem(HTTPStatus.FORBIDDEN, detail)
