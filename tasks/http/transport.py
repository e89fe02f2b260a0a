"""The guard where connections are made.

A transport of httpx2 asks its network backend for a connection to a host and a port. Ours
resolves the name, has every address checked, and connects to one of those very addresses, for the
first request as for each redirect. Host header, SNI and certificate remain those of the name.
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

from engine.errors import NodeError
from tasks.http.decoding import Decoder, decoders_of, limited
from tasks.http.ssrf_guard import SsrfGuard

CONNECTION_ATTEMPT_DELAY_SECONDS = 0.25
"""How long an address is tried alone before the next is tried beside it (RFC 8305, 8)."""
_CONNECTIONS = 100
_SCHEMES = {"http": 80, "https": 443}

_SocketOptions = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]


@cache
def ssl_context() -> SSLContext:
    """The process's one TLS context: reading the certificates anew takes 20 ms a client.

    The certificates are those that certifi brings along, since a bare container has none, or those
    that OpenSSL's ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        file = certifi.where()
    return create_default_context(cafile=file or None, capath=directory or None)


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What holds for every call of a client."""

    guard: SsrfGuard
    max_response_bytes: int
    proxy_url: str | None = None

    async def wants_proxy(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether a request goes through the proxy.

        Raises:
            NodeError: it may not be made at all, as far as that can be told before connecting.
        """
        if scheme not in _SCHEMES:
            raise NodeError(f"'{scheme}' is neither http nor https", retryable=False)
        if self.proxy_url is None:
            return False
        return await self.guard.goes_through_proxy(host, port or _SCHEMES[scheme])


class _Stream(Protocol):
    async def aclose(self) -> None: ...


_S = TypeVar("_S", bound=_Stream)


async def connect_to_first(addresses: list[str], connect: Callable[[str], Awaitable[_S]]) -> _S:
    """A connection to the first address that takes one, each with a head start over the next.

    Raises:
        Exception: none does; the first address's reason.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    untried, running, failures = list(addresses), set[asyncio.Task[_S]](), list[BaseException]()
    try:
        while True:
            if untried:
                running.add(asyncio.ensure_future(_started(connect, untried.pop(0))))
            patience = CONNECTION_ATTEMPT_DELAY_SECONDS if untried else None
            ended, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            failures += [error for task in ended if (error := task.exception())]
            made = [task.result() for task in ended if not task.exception()]
            for late in made[1:]:
                await late.aclose()
            if made:
                return made[0]
            if not untried and not running:
                raise failures[0]
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await outcome.aclose()


async def _started(connect: Callable[[str], Awaitable[_S]], address: str) -> _S:
    return await connect(address)


class _Body(httpx2.AsyncByteStream):
    """An answer's body, plain and limited."""

    def __init__(
        self, received: httpx2.AsyncByteStream, layers: list[Decoder], limit_bytes: int
    ) -> None:
        self._received = received
        self._layers = layers
        self._limit_bytes = limit_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return limited(self._received, self._layers, self._limit_bytes)

    async def aclose(self) -> None:
        await self._received.aclose()


def _body(answer: httpx2.Response, limit_bytes: int) -> _Body:
    """The body to hand on; takes away the headers that say how it was packed on its way."""
    layers = decoders_of(answer.headers.get("Content-Encoding", ""), answer.status_code)
    if layers:
        answer.headers.pop("Content-Encoding")
        answer.headers.pop("Content-Length", None)
    return _Body(cast("httpx2.AsyncByteStream", answer.stream), layers, limit_bytes)


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
        # httpx2 has no argument for the backend. Were the pool elsewhere, no call would be made.
        if not isinstance(self._pool, httpcore2.AsyncConnectionPool):  # pyright: ignore[reportUnnecessaryIsInstance] - of this version
            raise TypeError("this version of httpx2 cannot be guarded")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context(),
            max_connections=_CONNECTIONS,
            network_backend=_PinnedBackend(guard),
        )


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests where they may go; answers come unpacked and limited."""

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
        """Sends one request; its redirects are further ones."""
        url = request.url
        by_proxy = await self._limits.wants_proxy(url.scheme, url.host, url.port)
        transport = self._proxied if by_proxy and self._proxied else self._direct
        answer = await transport.handle_async_request(request)
        body = _body(answer, self._limits.max_response_bytes)
        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=body, extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._direct.aclose()
        if self._proxied:
            await self._proxied.aclose()
