"""HTTP node: builds a request from config and input, sends it, and reads the response."""

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import httpx2
from prefect import task

from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, as_text, is_list
from engine.masking import is_credential_header, masked_headers
from offload import run_sized
from tasks.compute import compute, to_json
from tasks.config.base import fill, fill_text, read_config
from tasks.context import HandlerSettings, current_node_run
from tasks.http.client import describe_error, new_client, parse_retry_after, redacted_url
from tasks.http.config import (
    HOST,
    BasicAuth,
    BearerAuth,
    HttpConfig,
    Pair,
    check_header_name,
    check_header_value,
)
from tasks.http.request_body import encode_body
from tasks.http.response import Body
from tasks.http.url_templates import fill_url
from tasks.masking import secret_masker
from tracing import TRACEPARENT

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_WRITING_METHODS = _BODY_METHODS | {"DELETE"}
_SHOWN_BODY = 500
_MASKED_BYTES = 16_384
"""Number of bytes of an error response that are decoded for the message."""
_SHOWN_HOST = 100


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call whose templates are filled."""

    method: str
    url: httpx2.URL
    headers: httpx2.Headers
    content: bytes | None
    auth_header: str | None = None
    """The header of ``httpAuth``, in lower case; like all headers with credentials, it is sent only
    to the origin of the URL."""

    @property
    def shown(self) -> str:
        """The method and the redacted URL, for messages."""
        return f"{self.method} {redacted_url(self.url)}"


@task(name="http")
async def handle_http(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Send the request; the result has ``outputData``, ``statusCode`` and ``headers``.

    Raises:
        NodeError: If the call fails. Retryable for 429 (with the requested delay), 5xx and network
            errors; not for an invalid config, other 4xx, a blocked address or a large response.
    """
    config = read_config(HttpConfig, node)
    run = current_node_run()
    call = await compute(
        (node, input_data),
        build_call,
        config,
        input_data,
        run.idempotency_key,
        run.span.headers,
        may_set_host=run.settings.http_allow_host_header,
    )
    response, output = await _send(call, run.settings, config)
    _raise_for_status(call, response)
    return {
        "success": True,
        "message": f"{call.shown} returned {response.status_code}",
        "outputData": output,
        "statusCode": response.status_code,
        "headers": masked_headers(response.headers),
    }


def build_call(
    config: HttpConfig,
    data: JsonValue,
    idempotency_key: str | None,
    trace_headers: Mapping[str, str] = MappingProxyType({}),
    *,
    may_set_host: bool = False,
) -> Call:
    """Return the call of a config, filled from the input; may run outside of the event loop.

    ``trace_headers`` are sent unless the config sets ``traceparent``.
    Raises a ``NodeError`` if a field of a template is missing, or the filled call is invalid.
    """
    headers = _headers(config.http_headers, data)
    auth_header = _authorize(headers, config, data)
    if idempotency_key and config.http_method in _WRITING_METHODS:
        headers.setdefault("Idempotency-Key", idempotency_key)
    if TRACEPARENT not in headers:
        headers.update(trace_headers)
    content = _content(config, data, headers)
    try:
        url = fill_url("httpUrl", config.http_url, data)
        url = _with_query(url, config.http_query, data)
    except httpx2.InvalidURL as error:
        raise PermanentError(f"httpQuery results in an invalid URL: {error}") from None
    except ValueError as error:
        raise PermanentError(f"httpUrl {error}") from None
    _check_host(headers, url, may_differ=may_set_host)
    return Call(config.http_method, url, headers, content, auth_header)


def read_response(call: Call, body: Body, response_type: str, status: int) -> JsonValue:
    """Return the value of a response's body; may run outside of the event loop.

    Raises a ``NodeError`` for a body that is not JSON if the type is ``json``, and a
    ``WorkStoppedError`` if the work was stopped.
    """
    if response_type != "json":
        return body.value(response_type)
    if not body.content and (call.method == "HEAD" or status == HTTPStatus.NO_CONTENT):
        return None
    try:
        return body.json()
    except ValueError as error:
        message = f"{call.shown} returned a body that is not JSON (httpResponseType): {error}"
        raise PermanentError(message) from None


async def _send(
    call: Call, settings: HandlerSettings, config: HttpConfig
) -> tuple[httpx2.Response, JsonValue]:
    """Return the response, and the value of its body unless the status is an error."""
    timeout_seconds = config.timeout_seconds or settings.http_timeout_seconds

    async def protect_credentials(request: httpx2.Request) -> None:
        if not _is_same_origin(call.url, request.url):
            _remove_credentials(call, request)

    try:
        async with (
            asyncio.timeout(timeout_seconds),  # httpx2 limits each step; a slow body has many
            new_client(settings, timeout_seconds, before_each=protect_credentials) as client,
        ):
            response = await client.request(
                call.method, call.url, headers=call.headers, content=call.content
            )
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                return response, None
            body, status = Body.of(response), response.status_code
            return response, await run_sized(
                len(body.content), read_response, call, body, config.http_response_type, status
            )
    except (TimeoutError, httpx2.TimeoutException):
        message = f"{call.shown}: no complete response within {timeout_seconds:g} s"
        raise NodeError(message) from None
    except NodeError as error:  # of the address guard, the size limit, or the body
        if str(error).startswith(call.shown):
            raise
        raise NodeError(f"{call.shown}: {error}", retryable=error.retryable) from None
    except httpx2.TooManyRedirects:
        message = f"{call.shown} redirected more than {settings.http_max_redirects} times"
        raise PermanentError(message) from None
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        raise PermanentError(f"{call.shown}: {describe_error(error)}") from None
    except httpx2.HTTPError as error:
        raise NodeError(f"{call.shown}: {describe_error(error)}") from error


def _remove_credentials(call: Call, request: httpx2.Request) -> None:
    """Remove from a redirected request everything that another origin must not receive.

    httpx2 removes only ``Authorization``; an ``X-API-Key`` is as secret, and so is a body. A body
    raises a ``NodeError``, because without it the meaning would change.
    """
    if call.content and "Content-Length" in request.headers:
        raise PermanentError(
            f"the server redirects to another origin, {redacted_url(request.url)}, and the body is "
            "not sent there; if that address is right, set it as httpUrl"
        )
    for name, value in list(request.headers.items()):
        if name == call.auth_header or is_credential_header(name) or secret_masker.contains(value):
            del request.headers[name]


def _is_same_origin(first: httpx2.URL, url: httpx2.URL) -> bool:
    """Return whether ``url`` has the origin of ``first``, or the same host with https."""
    upgraded = (first.scheme, first.port, url.scheme, url.port) == ("http", None, "https", None)
    same = (first.scheme, first.port) == (url.scheme, url.port)
    return first.host == url.host and (same or upgraded)


def _raise_for_status(call: Call, response: httpx2.Response) -> None:
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST:
        return
    message = f"{call.shown} returned {status} {response.reason_phrase}".rstrip()
    body = Body.of(response)
    # Secrets are masked before the text is truncated, so that no part of a secret remains.
    text = "" if body.is_binary() else secret_masker.mask(body.text(_MASKED_BYTES)).strip()
    raise NodeError(
        f"{message}: {text[:_SHOWN_BODY]}" if text else message,
        retryable=status == HTTPStatus.TOO_MANY_REQUESTS
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
        status_code=status,
    )


def _filled(
    setting: str, pairs: Iterable[Pair], data: JsonValue
) -> Iterator[tuple[str, JsonValue]]:
    """Return the filled rows of a table, without rows that have no name or no value."""
    for pair in pairs:
        name = fill_text(setting, pair.key, data).strip()
        if name and pair.value is not None:
            yield name, fill(f"{setting} '{name}'", pair.value, data)


def _headers(pairs: Iterable[Pair], data: JsonValue) -> httpx2.Headers:
    filled = _filled("httpHeaders", pairs, data)
    # UTF-8, because httpx2 rejects other values than ASCII, and servers expect UTF-8.
    return httpx2.Headers(
        [_header("httpHeaders", name, value) for name, value in filled], encoding="utf-8"
    )


def _header(setting: str, name: str, value: JsonValue) -> tuple[str, str]:
    try:
        return check_header_name(name), check_header_value(name, as_text(value))
    except ValueError as error:
        raise PermanentError(f"{setting}: {error}") from None


def _check_host(headers: httpx2.Headers, url: httpx2.URL, *, may_differ: bool) -> None:
    """Raise a ``NodeError`` for a ``Host`` header other than that of the URL, unless allowed."""
    host = headers.get(HOST)
    if host is None or host.lower() == url.netloc.decode("ascii") or may_differ:
        return
    raise PermanentError(
        f"httpHeaders: header 'Host' has another value than the host of httpUrl, "
        f"'{host[:_SHOWN_HOST]}'; the operator can allow it with HTTP_ALLOW_HOST_HEADER=true"
    )


def _authorize(headers: httpx2.Headers, config: HttpConfig, data: JsonValue) -> str | None:
    auth = config.http_auth
    if auth is None:
        return None
    name = "Authorization"
    if isinstance(auth, BearerAuth):
        value = f"Bearer {fill_text('httpAuth.token', auth.token, data).strip()}"
    elif isinstance(auth, BasicAuth):
        username = fill_text("httpAuth.username", auth.username, data)
        password = fill_text("httpAuth.password", auth.password, data)
        value = f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
    else:
        name = auth.name
        value = fill_text("httpAuth.value", auth.value, data)
    name, value = _header("httpAuth", name, value)
    headers[name] = value
    return name.lower()


def _with_query(url: httpx2.URL, pairs: Iterable[Pair], data: JsonValue) -> httpx2.URL:
    """Return the URL with the pairs added to its query, which does not change otherwise."""
    items = [
        (name, as_text(item))
        for name, value in _filled("httpQuery", pairs, data)
        for item in (value if is_list(value) else [value])
        if item is not None
    ]
    if not items:
        return url
    added = urlencode(items).encode()
    return url.copy_with(query=url.query + b"&" + added if url.query else added)


def _content(config: HttpConfig, data: JsonValue, headers: httpx2.Headers) -> bytes | None:
    if config.http_body_mode == "none":
        return None
    if config.http_body is not None:
        body = fill("httpBody", config.http_body, data)
    else:
        body = data if config.http_method in _BODY_METHODS else None
        # The input is data, so a string is sent as JSON.
        if isinstance(body, str):
            body = to_json(body)
    return None if body is None else encode_body(body, headers)
