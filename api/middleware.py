"""What every answer carries, and how large and how slow a request may be."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import SAFE_HEADERS, problem, unexpected

_CLOSE = {"Connection": "close"}
"""RFC 9110, section 15.5.9: the rest of a body that is too late is not waited for."""


class SecurityHeadersMiddleware:
    """Adds ``SAFE_HEADERS`` to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = SAFE_HEADERS) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the application answer, and adds to that."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely if scope["type"] == "http" else send)


class UnexpectedErrorMiddleware:
    """Responds with a 500 to every error that no handler knows.

    Starlette does so outside of all middleware, so that a page of an allowed origin would see a
    network error instead of the response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; an error after the beginning of the response is raised again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if is_started:
                raise
            await unexpected(scope["path"], error)(scope, receive, send)


class RequestBodyLimitMiddleware:
    """Refuses bodies of more than ``most`` bytes with a 413, before they are held or parsed, and
    those that are not there after ``seconds`` with a 408.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self._app = app
        self.most = most
        self.seconds = seconds
        self.too_large = f"The body is larger than MAX_REQUEST_BODY_BYTES={most}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the application answer, unless it is too much, as said or as counted, or too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "")
        if said.isascii() and said.isdigit() and int(said) > self.most:
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self.too_large)(scope, receive, send)
            return
        exchange = _LimitedRequest(self, receive, send)
        await self._app(scope, exchange.receive, exchange.send)
        await exchange.end()


class _LimitedRequest:
    """A request as it comes, and its answer as it goes."""

    def __init__(self, limit: RequestBodyLimitMiddleware, receive: Receive, send: Send) -> None:
        self._limit = limit
        self._receive = receive
        self._send = send
        self._had = 0
        self._is_whole = self._is_answered = self._is_cut = False
        self._due = asyncio.get_running_loop().time() + limit.seconds

    async def receive(self) -> Message:
        """A piece of the body, or that the client went away.

        Raises:
            HTTPException: 413 or 408.
        """
        try:
            # Behind the body comes the client's going away, which has no time limit.
            async with asyncio.timeout_at(None if self._is_whole else self._due):
                message = await self._receive()
        except TimeoutError:
            if self._is_answered:  # by what does not need the body, such as a stream
                self._is_cut = True
                return {"type": "http.disconnect"}
            detail = (
                f"The body did not come within REQUEST_BODY_TIMEOUT_SECONDS={self._limit.seconds:g}"
            )
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, _CLOSE) from None
        self._is_whole = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._had += len(message.get("body", b""))
            if self._had > self._limit.most:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._limit.too_large)
        return message

    async def send(self, message: Message) -> None:
        """Hands on a part of the answer."""
        self._is_answered = True
        self._is_cut = self._is_cut and message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """Ends the answer in order whose client did not go away but was given up."""
        if self._is_cut:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
