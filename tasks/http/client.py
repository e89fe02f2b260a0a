"""HTTP clients: creates every client of the service, parses URLs, and describes errors.

Every outgoing request uses a client of this module, so that ``ssrf_guard`` checks its address.
"""

import codecs
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import Cookie, CookieJar
from ipaddress import ip_network
from typing import Any, cast

import httpx2

from charsets import UTF_8
from tasks.context import HandlerSettings
from tasks.http.decoding import ACCEPTED
from tasks.http.media_types import charset_of
from tasks.http.ssrf_guard import (
    MAX_PORT,
    AllowedHost,
    SsrfGuard,
    parse_allowed_hosts,
    parse_ip_literal,
)
from tasks.http.transport import ClientLimits, GuardedTransport

RequestHook = Callable[[httpx2.Request], Awaitable[None]]


def new_client(
    settings: HandlerSettings, timeout_seconds: float, *, before_each: RequestHook | None = None
) -> httpx2.AsyncClient:
    """Return a guarded client for one call and its redirects.

    In addition to httpx2's errors, a call raises ``AddressBlockedError``,
    ``ResponseTooLargeError`` and, for a body that cannot be decoded, ``NodeError``. The timeout
    applies to each step of a request; ``before_each`` is called with each request.
    """
    hooks = [before_each] if before_each else []
    return _client(_limits(settings), settings, timeout_seconds, hooks)


def new_openai_transport(settings: HandlerSettings, timeout_seconds: float) -> httpx2.AsyncClient:
    """Return the client for an ``openai.AsyncOpenAI``.

    It may call the server of ``OPENAI_BASE_URL`` at any address, because the operator chose it.
    """
    limits = _limits(settings)
    if settings.openai_base_url:
        limits = replace(limits, guard=_with_server(limits.guard, settings.openai_base_url))
    return _client(limits, settings, timeout_seconds, [])


def _client(
    limits: ClientLimits,
    settings: HandlerSettings,
    timeout_seconds: float,
    hooks: list[RequestHook],
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=GuardedTransport(limits),
        trust_env=False,
        headers={"Accept-Encoding": ACCEPTED},
        cookies=_Cookies(),
        timeout=timeout_seconds,
        follow_redirects=True,
        max_redirects=settings.http_max_redirects,
        event_hooks={"request": hooks, "response": [_use_web_charset]},
    )


class _Cookies(CookieJar):
    """The cookies of one call and its redirects; ignores a cookie with invalid numbers."""

    def _cookies_from_attrs_set(self, attrs_set: Any, request: Any) -> list[Cookie]:
        try:
            return cast("Any", super())._cookies_from_attrs_set(attrs_set, request)
        except (ArithmeticError, ValueError):  # the base class would warn about a bug
            return []


async def _use_web_charset(response: httpx2.Response) -> None:
    """Restrict ``response.text`` to the encodings of the web.

    httpx2 uses every codec of Python that a server names; some of them need hours for a megabyte.
    """
    charset = charset_of(response.headers.get("Content-Type", "")) or UTF_8
    try:
        codecs.lookup(charset.name)
    except LookupError:  # Python uses other names for some of the encodings
        charset = UTF_8
    response.encoding = charset.name


def _limits(settings: HandlerSettings) -> ClientLimits:
    guard = SsrfGuard(
        settings.http_allow_private_networks, _allowed_hosts(settings.http_allowed_hosts)
    )
    return ClientLimits(guard, settings.http_max_response_bytes, settings.http_proxy_url)


_allowed_hosts = cache(parse_allowed_hosts)


@cache
def _with_server(guard: SsrfGuard, base_url: str) -> SsrfGuard:
    """Return ``guard`` with permission for the host and port of a URL."""
    url = parse_url(base_url)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    address = parse_ip_literal(url.host)
    if address is None:
        server = AllowedHost(name=url.host.rstrip(".").lower(), port=port)
    else:
        server = AllowedHost(network=ip_network(address), port=port)
    return replace(guard, allowed=(*guard.allowed, server))


def parse_url(text: str) -> httpx2.URL:
    """Return a callable URL, or raise a ``ValueError`` that continues "The setting …"."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f"is not a valid URL: {error}") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError("should start with http:// or https://")
    if not url.host or "%" in url.host:  # httpx2 escapes characters that are invalid in a host
        raise ValueError("should contain a valid host name")
    if url.port is not None and url.port > MAX_PORT:
        raise ValueError(f"should have a port up to {MAX_PORT}")
    return url


def redacted_url(url: httpx2.URL) -> str:
    """Return a URL for messages, without query and credentials, because they may be secret."""
    port = f":{url.port}" if url.port else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}{url.path}"


def describe_error(error: BaseException) -> str:
    """Return why a request failed; the description is not empty and contains no header value."""
    last = ""
    for cause in _causes(error):
        reason = _reason(cause)
        if reason:
            return reason
        last = str(cause) or last
    return last or "".join(f" {c.lower()}" if c.isupper() else c for c in type(error).__name__)[1:]


_REASONS: dict[type[BaseException], str] = {
    socket.gaierror: "the host name cannot be resolved",
    ConnectionRefusedError: "the connection was refused",
    ConnectionResetError: "the connection was closed before the response arrived",
    BrokenPipeError: "the connection was closed before the response arrived",
}


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = getattr(error, "verify_message", None) or "the verification failed"
        return f"the certificate is not trusted: {detail}"
    if type(error).__name__ == "LocalProtocolError":
        # Its message quotes the invalid header, which may be a credential.
        return "the request is not valid HTTP"
    return next((text for kind, text in _REASONS.items() if isinstance(error, kind)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return the error and its causes, including those within exception groups."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = current.__cause__ or current.__context__
        if inner is not None:
            pending.append(inner)
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - the group's type parameter is erased by isinstance


MAX_RETRY_AFTER_SECONDS = 31_536_000.0
"""Maximum delay that ``Retry-After`` can request, in seconds: a year, so that the date exists."""

_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{0,18})?")
_MAX_DATE_CHARACTERS = 100


def parse_retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that ``Retry-After`` (RFC 9110, 10.2.3) requests: a number or a date.

    Return ``None`` for any other value, for example a negative number or an invalid date.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    if len(text) > _MAX_DATE_CHARACTERS:
        return None
    now = now or datetime.now(UTC)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - now).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)
