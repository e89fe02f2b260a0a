"""HTTP from inside handlers: the clients, addresses, and failures in plain words.

The ``http`` node uses httpx; the ``openai`` client is built on httpx2 and takes a client of that.
"""

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache

import httpx
import httpx2

MAX_REDIRECTS = 10
HIGHEST_PORT = 65_535

RequestHook = Callable[[httpx.Request], Awaitable[None]]


@cache
def ssl_context() -> ssl.SSLContext:
    """The process's one TLS context: reading the certificates anew takes 20 ms a client."""
    return httpx.create_ssl_context()


def new_client(
    timeout_seconds: float, *, before_each: RequestHook | None = None
) -> httpx.AsyncClient:
    """A client for one call and its redirects; ``before_each`` sees every request of them."""
    return httpx.AsyncClient(
        verify=ssl_context(),
        timeout=timeout_seconds,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        event_hooks={"request": [before_each] if before_each else []},
    )


def new_openai_transport(timeout_seconds: float) -> httpx2.AsyncClient:
    """The client to build an ``openai.AsyncOpenAI`` on."""
    return httpx2.AsyncClient(
        verify=ssl_context(),
        timeout=timeout_seconds,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
    )


def parse_url(text: str) -> httpx.URL:
    """The address that ``text`` is.

    Raises:
        ValueError: it is none that can be called, as the rest of a sentence about the setting.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"is no URL: {error}") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError("should start with http:// or https://")
    if not url.host or "%" in url.host:  # httpx escapes what no host name can hold
        raise ValueError("should name a host")
    if url.port is not None and url.port > HIGHEST_PORT:
        raise ValueError(f"should have a port up to {HIGHEST_PORT}")
    return url


def shown_url(url: httpx.URL) -> str:
    """A URL for messages: without the query and the credentials, which may be secret."""
    port = f":{url.port}" if url.port else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}{url.path}"


def plain_reason(error: BaseException) -> str:
    """Why a call came to nothing, in words; never empty, and never a header's value."""
    last = ""
    for cause in _causes(error):
        reason = _known_reason(cause)
        if reason:
            return reason
        last = str(cause) or last
    return last or "".join(f" {c.lower()}" if c.isupper() else c for c in type(error).__name__)[1:]


def _known_reason(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", None) or "the verification failed"
        return f"the certificate is not trusted: {why}"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was closed before the answer came"
    if type(error).__name__ == "LocalProtocolError":
        # Its text quotes the header that it objects to, which may be a credential.
        return "the request is not valid HTTP"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the inner parts of groups included."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = current.__cause__ or current.__context__
        if inner is not None:
            todo.append(inner)
        if isinstance(current, BaseExceptionGroup):
            todo.extend(current.exceptions)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - the group's type parameter is erased by isinstance


def parse_retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks to wait: a number or an HTTP date (RFC 9110, 10.2.3)."""
    text = (header or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
