"""Guarded transport: checks the address of every connection, and limits and decodes responses.

Its network backend resolves the name, checks every address, and connects to one of them, for the
first request and for each redirect. Host header, SNI and certificate remain those of the name.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext, create_default_context
from typing import Protocol, TypeVar, cast

import certifi
import httpcore2
import httpx2

from engine.errors import PermanentError
from tasks.http.decoding import codings_of, decode_body
from tasks.http.ssrf_guard import SsrfGuard

CONNECTION_ATTEMPT_DELAY_SECONDS = 0.25
"""Delay before the next address is tried in parallel (RFC 8305, 8), in seconds."""
_MAX_CONNECTIONS = 100
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SocketOptions = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]


@cache
def ssl_context() -> SSLContext:
    """Return the TLS context of the process, because reading the certificates takes 20 ms.

    The certificates are those of certifi, because a minimal container has none, or those that
    OpenSSL's ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        file = certifi.where()
    return create_default_context(cafile=file or None, capath=directory or None)


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits that apply to every request of a client."""

    guard: SsrfGuard
    max_response_bytes: int
    proxy_url: str | None = None

    async def use_proxy(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether a request uses the proxy.

        Raises a ``NodeError`` for an unsupported scheme and for a blocked address.
        """
        if scheme not in _DEFAULT_PORTS:
            raise PermanentError(f"the scheme '{scheme}' is not supported; accepted: http, https")
        if self.proxy_url is None:
            return False
        return await self.guard.use_proxy(host, port or _DEFAULT_PORTS[scheme])


class _Stream(Protocol):
    async def aclose(self) -> None: ...


_S = TypeVar("_S", bound=_Stream)


async def connect_to_first(addresses: list[str], connect: Callable[[str], Awaitable[_S]]) -> _S:
    """Return a connection to the first address that accepts one (RFC 8305, "Happy Eyeballs").

    If none accepts one, the error of the first address is raised.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    untried, running, failures = list(addresses), set[asyncio.Future[_S]](), list[BaseException]()
    try:
        while True:
            if untried:
                running.add(asyncio.ensure_future(connect(untried.pop(0))))
            delay = CONNECTION_ATTEMPT_DELAY_SECONDS if untried else None
            done, running = await asyncio.wait(
                running, timeout=delay, return_when=asyncio.FIRST_COMPLETED
            )
            failures += [error for task in done if (error := task.exception())]
            connections = [task.result() for task in done if not task.exception()]
            for surplus in connections[1:]:
                await surplus.aclose()
            if connections:
                return connections[0]
            if not untried and not running:
                raise failures[0]
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await outcome.aclose()


class _DecodedBody(httpx2.AsyncByteStream):
    """The body of a response, decoded and limited."""

    def __init__(self, response: httpx2.Response, limit_bytes: int) -> None:
        self._received = cast("httpx2.AsyncByteStream", response.stream)
        self._codings = codings_of(response.headers.get("Content-Encoding", ""))
        self._status = response.status_code
        self._limit_bytes = limit_bytes
        if self._codings:  # the headers describe the body as it was sent
            response.headers.pop("Content-Encoding")
            response.headers.pop("Content-Length", None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return decode_body(self._received, self._codings, self._status, self._limit_bytes)

    async def aclose(self) -> None:
        await self._received.aclose()


def _proxy_context(url: str) -> SSLContext | None:
    return ssl_context() if url.startswith("https:") else None


class _PinnedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, guard: SsrfGuard) -> None:
        self._guard = guard
        self._plain = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        def connect(address: str) -> Awaitable[httpcore2.AsyncNetworkStream]:
            return self._plain.connect_tcp(address, port, timeout, local_address, socket_options)

        try:
            async with asyncio.timeout(timeout):
                return await connect_to_first(await self._guard.addresses(host, port), connect)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error


class _PinnedTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, guard: SsrfGuard) -> None:
        super().__init__(verify=ssl_context(), trust_env=False)
        # httpx2 has no argument for the backend. Without this check, a version that stores the
        # pool elsewhere would make unguarded connections.
        if not isinstance(self._pool, httpcore2.AsyncConnectionPool):  # pyright: ignore[reportUnnecessaryIsInstance] - of this version
            raise TypeError("this version of httpx2 does not support the address guard")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context(),
            max_connections=_MAX_CONNECTIONS,
            network_backend=_PinnedBackend(guard),
        )


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Transport that sends requests to permitted addresses only, and limits responses."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._direct = _PinnedTransport(limits.guard)
        self._proxied = None
        if limits.proxy_url is not None:
            proxy = httpx2.Proxy(limits.proxy_url, ssl_context=_proxy_context(limits.proxy_url))
            self._proxied = httpx2.AsyncHTTPTransport(
                verify=ssl_context(), trust_env=False, proxy=proxy
            )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; each redirect is another call."""
        url = request.url
        use_proxy = await self._limits.use_proxy(url.scheme, url.host, url.port)
        transport = self._proxied if use_proxy and self._proxied else self._direct
        response = await transport.handle_async_request(request)
        body = _DecodedBody(response, self._limits.max_response_bytes)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._direct.aclose()
        if self._proxied:
            await self._proxied.aclose()
