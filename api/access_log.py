"""Access log: one event for every request, also for rejected ones."""

from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.browsers import WEBHOOKS
from api.auth.tokens import TASK_PAGES
from engine.masking import MASK

MAX_PATH_CHARACTERS = 200
"""Maximum length of a path in the log, in characters."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_STARTS = ("http.response.start", "websocket.http.response.start")

log = structlog.get_logger()


class AccessLogMiddleware:
    """Logs method, path and status of every request after its response.

    Requests that only read have the level DEBUG, because clients poll. The log contains no queries,
    because they may contain a token. Tokens in paths are masked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log its response."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status: int | None = None

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = HTTPStatus.SWITCHING_PROTOCOLS
            elif message["type"] == "websocket.close" and status is None:
                status = HTTPStatus.FORBIDDEN  # the response of servers to a closed handshake
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            if status is not None:
                _log(scope, int(status), perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    method = scope.get("method", "GET")
    event: dict[str, Any] = {
        "method": "WEBSOCKET" if scope["type"] == "websocket" else method,
        "path": logged_path(scope["path"]),
        "status": status,
        "duration_ms": round(seconds * 1000),
        "client": scope["client"][0] if scope.get("client") else None,
    }
    if (caller := scope.get("caller")) is not None:
        event["caller"] = caller.name
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", **event)
    elif status >= HTTPStatus.BAD_REQUEST:
        log.info("request_rejected", **event)
    elif method in _SAFE_METHODS:
        log.debug("request_completed", **event)
    else:
        log.info("request_completed", **event)


def logged_path(path: str) -> str:
    """Return a path for the log: on one line, without the token of a webhook or of a task."""
    if path.startswith(TASK_PAGES):
        path = f"{TASK_PAGES}{MASK}"
    before, prefix, rest = path.partition(WEBHOOKS)
    if not before and prefix and "/" in rest:
        path = f"{WEBHOOKS}{rest.rpartition('/')[0]}/{MASK}"
    shown = quote(path, safe="/*:@!$&'()+,;=~", errors="replace")
    return shown if len(shown) <= MAX_PATH_CHARACTERS else f"{shown[:MAX_PATH_CHARACTERS]}…"
