"""Middleware: security headers, unexpected errors, and limits of request bodies."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import SAFE_HEADERS, problem, unexpected
from flows.intake.callers import use_calling_execution
from tracing import TRACEPARENT, TraceContext, use_request_context

_CLOSE = {"Connection": "close"}
"""RFC 9110, section 15.5.9: a 408 closes the connection, so that the rest is not read."""


class SecurityHeadersMiddleware:
    """Adds ``SAFE_HEADERS`` to every response that does not set them."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = SAFE_HEADERS) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class RequestOriginMiddleware:
    """Sets the origin of a request, for the execution that it starts.

    It consists of the trace context of ``traceparent`` and of the execution whose ``http`` node
    sent the request. An invalid ``traceparent``, or several of them, count as none, as the standard
    requires.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        with ExitStack() as origin:
            if len(headers.getlist(TRACEPARENT)) == 1:
                origin.enter_context(use_request_context(TraceContext.of_headers(headers)))
            if (key := headers.get("Idempotency-Key")) is not None:
                origin.enter_context(use_calling_execution(key))
            await self._app(scope, receive, send)


class UnexpectedErrorMiddleware:
    """Responds with a 500 to every error without a handler.

    Starlette's own response has no CORS headers, because it is outside of all middleware. A page
    of an allowed origin would receive a network error instead of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an error after the start of the response is raised again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_and_record(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except Exception as error:
            if is_started:
                raise
            await unexpected(scope["path"], error)(scope, receive, send)


class RequestBodyLimitMiddleware:
    """Rejects request bodies that are too large with a 413, and those that are too slow with a 408.

    Both happen before the body is stored or parsed.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self.max_bytes = max_bytes
        self.timeout_seconds = timeout_seconds
        self.too_large = f"The body is larger than MAX_REQUEST_BODY_BYTES={max_bytes}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a limited body. A large ``Content-Length`` is rejected here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self.max_bytes:
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self.too_large)(scope, receive, send)
            return
        request = _LimitedRequest(self, receive, send)
        await self._app(scope, request.receive, request.send)
        await request.end()


class _LimitedRequest:
    """One request: counts its body, and ends its response if the body is too slow."""

    def __init__(self, limit: RequestBodyLimitMiddleware, receive: Receive, send: Send) -> None:
        self._limit = limit
        self._receive = receive
        self._send = send
        self._received_bytes = 0
        self._is_complete = self._has_response = self._is_cut = False
        self._deadline = asyncio.get_running_loop().time() + limit.timeout_seconds

    async def receive(self) -> Message:
        """Return a part of the body, or the disconnect of the client.

        Raises:
            HTTPException: If the body is too large (413) or too slow (408).
        """
        try:
            # After the body, this waits for the disconnect, which has no deadline.
            async with asyncio.timeout_at(None if self._is_complete else self._deadline):
                message = await self._receive()
        except TimeoutError:
            if self._has_response:  # such as a stream, which does not read the body
                self._is_cut = True
                return {"type": "http.disconnect"}
            timeout = f"REQUEST_BODY_TIMEOUT_SECONDS={self._limit.timeout_seconds:g}"
            detail = f"The body did not arrive within {timeout}"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, _CLOSE) from None
        self._is_complete = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            if self._received_bytes > self._limit.max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._limit.too_large)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        self._has_response = True
        self._is_cut = self._is_cut and message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """Complete the response if it was cut because the body was too slow."""
        if self._is_cut:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
