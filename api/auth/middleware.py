"""Authentication middleware: identifies the caller of a request, and checks its permissions."""

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.callers import ANONYMOUS, Authenticator
from api.auth.permissions import accepts_query_token, accepts_token, is_public, required_role
from api.errors import problem

WEBSOCKET_PATH = "/ws"
"""Path of the WebSocket, whose clients may authenticate in their first message."""
AUTH_SCHEME = "Bearer"


class AuthMiddleware:
    """Rejects requests without a valid credential, before the body is read.

    Sets ``scope["caller"]``. On the WebSocket it is ``None`` if the credential is missing or
    invalid, and ``scope["has_credential"]`` distinguishes the two.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with a problem document."""
        if scope["type"] == "http":
            rejection = self._check_request(scope)
        elif scope["type"] == "websocket":
            rejection = self._check_websocket(scope)
        else:
            rejection = None
        await (rejection or self._app)(scope, receive, send)

    def _check_request(self, scope: Scope) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        if self._authenticator.is_open or is_public(method, path):
            scope["caller"] = ANONYMOUS
            return None
        credential = _credential(scope)
        caller = None if credential is None else self._authenticator.authenticate(credential)
        if credential is None and accepts_query_token(method, path):
            credential = _query_token(scope)
            if credential is not None:
                caller = self._authenticator.authenticate_token(credential)
        if caller is None:
            return _unauthorized(credential)
        scope["caller"] = caller
        if caller.execution_id is not None and not accepts_token(method, path):
            return _forbidden("A token reads only the execution that it was created for")
        role = required_role(method, path)
        if caller.role < role:
            return _forbidden(
                f"This request requires the role '{role.name.lower()}'; "
                f"the key '{caller.name}' has the role '{caller.role.name.lower()}'"
            )
        return None

    def _check_websocket(self, scope: Scope) -> ASGIApp | None:
        if self._authenticator.is_open:
            scope["caller"] = ANONYMOUS
            return None
        if scope["path"] != WEBSOCKET_PATH:
            return _unauthorized(None)
        credential, query_token = _credential(scope), _query_token(scope)
        scope["caller"] = None
        if credential is not None:
            scope["caller"] = self._authenticator.authenticate(credential)
        elif query_token is not None:
            scope["caller"] = self._authenticator.authenticate_token(query_token)
        scope["has_credential"] = credential is not None or query_token is not None
        return None


def _credential(scope: Scope) -> bytes | None:
    """Return the credential of ``X-API-Key``, or else of ``Authorization: Bearer``."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    key = headers.get(b"x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, credential = headers.get(b"authorization", b"").partition(b" ")
    return credential.strip() if scheme.lower() == b"bearer" else None


def _query_token(scope: Scope) -> bytes | None:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("token")
    return values[-1].encode() if values else None


def _unauthorized(credential: bytes | None) -> ASGIApp:
    if credential is None:
        detail = "An API key is required: 'Authorization: Bearer …' or 'X-API-Key: …'"
        return problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": AUTH_SCHEME})
    # RFC 6750, section 3
    headers = {"WWW-Authenticate": f'{AUTH_SCHEME} error="invalid_token"'}
    detail = "The API key is unknown, or the token is invalid or has expired"
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers)


def _forbidden(detail: str) -> ASGIApp:
    return problem(HTTPStatus.FORBIDDEN, detail)
