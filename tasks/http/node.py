"""The ``http`` node: builds a call from config and input, makes it, and reads the answer."""

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

import httpx2
from prefect import task

from engine.credential_headers import is_credential_header
from engine.errors import NodeError
from engine.json_values import JsonValue, as_text
from engine.masking import masked_headers
from offload import run_sized
from tasks.compute import compute, to_json
from tasks.config.base import fill, fill_text, read_config
from tasks.context import HandlerSettings, current_node_run
from tasks.http.client import describe_error, new_client, parse_retry_after, redacted_url
from tasks.http.config import BasicAuth, BearerAuth, HttpConfig, Pair
from tasks.http.headers import HOST, check_header_name, check_header_value
from tasks.http.request_body import encode_body
from tasks.http.response import Body
from tasks.http.url_templates import fill_url
from tasks.masking import secret_masker

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_WRITING_METHODS = _BODY_METHODS | {"DELETE"}
_SHOWN_BODY = 500
_MASKED_BYTES = 16_384
"""Number of bytes of a failure's body that are read for the message."""
_SHOWN_HOST = 100


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, filled in and ready to be made."""

    method: str
    url: httpx2.URL
    headers: httpx2.Headers
    content: bytes | None
    auth_header: str | None = None
    """The header that proves who calls, in small letters; like all headers that carry credentials
    it goes to no other origin than the URL's."""

    @property
    def shown(self) -> str:
        """The call in messages."""
        return f"{self.method} {redacted_url(self.url)}"


@task(name="http")
async def handle_http(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Calls the address; the result has ``outputData``, ``statusCode`` and ``headers``.

    Raises:
        NodeError: not retryable for what another attempt cannot mend (config, template, 4xx, an
            address that is blocked, an answer that is too large);
            retryable for 429 (with the delay that was asked for), 5xx and failures of the network.
    """
    config = read_config(HttpConfig, node)
    run = current_node_run()
    call = await compute(
        (node, input_data),
        build_call,
        config,
        input_data,
        run.idempotency_key,
        may_set_host=run.settings.http_allow_host_header,
    )
    wanted = config.http_response_type
    response, output = await _make(call, run.settings, config.timeout_seconds, wanted)
    _refuse_failure(call, response)
    return {
        "success": True,
        "message": f"{call.shown} answered {response.status_code}",
        "outputData": output,
        "statusCode": response.status_code,
        "headers": masked_headers(response.headers),
    }


def build_call(
    config: HttpConfig, data: JsonValue, idempotency_key: str | None, *, may_set_host: bool = False
) -> Call:
    """Return the call that a config describes, over an input; may run outside of the event loop.

    Raises:
        NodeError: a template's field is missing, or what was filled in makes no valid call.
    """
    headers = _headers(config.http_headers, data)
    auth_header = _authorize(headers, config, data)
    if idempotency_key and config.http_method in _WRITING_METHODS:
        headers.setdefault("Idempotency-Key", idempotency_key)
    content = _content(config, data, headers)
    try:
        url = fill_url("httpUrl", config.http_url, data)
        url = _with_query(url, config.http_query, data)
    except httpx2.InvalidURL as error:
        raise NodeError(
            f"httpQuery makes a URL that is not valid: {error}", retryable=False
        ) from None
    except ValueError as error:
        raise NodeError(f"httpUrl {error}", retryable=False) from None
    _check_host(headers, url, may_differ=may_set_host)
    return Call(config.http_method, url, headers, content, auth_header)


def read_answer(call: Call, body: Body, wanted: str, status: int) -> JsonValue:
    """Return the value of a response's body; may run outside of the event loop.

    Raises:
        NodeError: If ``wanted`` is ``json`` and the body is not JSON.
        WorkStoppedError: If the work was stopped in the meantime.
    """
    if wanted != "json":
        return body.value(wanted)
    if not body.content and (call.method == "HEAD" or status == HTTPStatus.NO_CONTENT):
        return None
    try:
        return body.json()
    except ValueError as error:
        message = f"{call.shown} was to answer JSON, but did not: {error}"
        raise NodeError(message, retryable=False) from None


async def _make(
    call: Call, settings: HandlerSettings, timeout_seconds: float | None, wanted: str
) -> tuple[httpx2.Response, JsonValue]:
    """Return the response, and the value of its body unless the status is that of a failure."""
    limit_seconds = timeout_seconds or settings.http_timeout_seconds

    async def keep_to_the_origin(request: httpx2.Request) -> None:
        if not _same_site(call.url, request.url):
            _remove_credentials(call, request)

    try:
        async with (
            asyncio.timeout(limit_seconds),  # httpx2 limits each step; a slow body has many
            new_client(settings, limit_seconds, before_each=keep_to_the_origin) as client,
        ):
            response = await client.request(
                call.method, call.url, headers=call.headers, content=call.content
            )
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                return response, None
            body, status = Body.of(response), response.status_code
            return response, await run_sized(
                len(body.content), read_answer, call, body, wanted, status
            )
    except (TimeoutError, httpx2.TimeoutException):
        raise NodeError(f"{call.shown}: no complete answer within {limit_seconds:g} s") from None
    except NodeError as error:  # the guard's, the limit's, or that of the body
        if str(error).startswith(call.shown):
            raise
        raise NodeError(f"{call.shown}: {error}", retryable=error.retryable) from None
    except httpx2.TooManyRedirects:
        message = f"{call.shown} redirected more than {settings.http_max_redirects} times"
        raise NodeError(message, retryable=False) from None
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        raise NodeError(f"{call.shown}: {describe_error(error)}", retryable=False) from None
    except httpx2.HTTPError as error:
        raise NodeError(f"{call.shown}: {describe_error(error)}") from error


def _remove_credentials(call: Call, request: httpx2.Request) -> None:
    """Remove from a redirected request everything that another origin must not receive.

    httpx2 removes ``Authorization`` only; an ``X-API-Key`` is as secret, and so is a body.

    Raises:
        NodeError: If the request has a body. Without it the request would have another meaning.
    """
    if call.content and "Content-Length" in request.headers:
        raise NodeError(
            f"the server redirects to another origin, {redacted_url(request.url)}, and the body is "
            "not sent there; if that address is right, set it as httpUrl",
            retryable=False,
        )
    for name, value in list(request.headers.items()):
        if name == call.auth_header or is_credential_header(name) or secret_masker.contains(value):
            del request.headers[name]


def _same_site(home: httpx2.URL, url: httpx2.URL) -> bool:
    """Whether ``url`` has the origin of ``home``, or is its step up from http to https."""
    upgraded = (home.scheme, home.port, url.scheme, url.port) == ("http", None, "https", None)
    same = (home.scheme, home.port) == (url.scheme, url.port)
    return home.host == url.host and (same or upgraded)


def _refuse_failure(call: Call, response: httpx2.Response) -> None:
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST:
        return
    answer = f"{call.shown} answered {status} {response.reason_phrase}".rstrip()
    body = Body.of(response)
    # A secret is masked before the text is cut, so that no part of it is left at the end.
    said = "" if body.is_binary() else secret_masker.mask(body.text(_MASKED_BYTES)).strip()
    raise NodeError(
        f"{answer}: {said[:_SHOWN_BODY]}" if said else answer,
        retryable=status == HTTPStatus.TOO_MANY_REQUESTS
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
        status_code=status,
    )


def _filled(
    setting: str, pairs: Iterable[Pair], data: JsonValue
) -> Iterator[tuple[str, JsonValue]]:
    """The rows of a table, filled from ``data``, without those that have no name or no value."""
    for pair in pairs:
        name = fill_text(setting, pair.key, data).strip()
        if name and pair.value is not None:
            yield name, fill(f"{setting} '{name}'", pair.value, data)


def _headers(pairs: Iterable[Pair], data: JsonValue) -> httpx2.Headers:
    filled = _filled("httpHeaders", pairs, data)
    # As UTF-8: httpx2 would refuse a value beyond ASCII, and servers that look at one expect it.
    return httpx2.Headers(
        [_header("httpHeaders", name, value) for name, value in filled], encoding="utf-8"
    )


def _header(setting: str, name: str, value: JsonValue) -> tuple[str, str]:
    try:
        return check_header_name(name), check_header_value(name, as_text(value))
    except ValueError as error:
        raise NodeError(f"{setting}: {error}", retryable=False) from None


def _check_host(headers: httpx2.Headers, url: httpx2.URL, *, may_differ: bool) -> None:
    """Check that a ``Host`` header is that of the URL.

    Raises:
        NodeError: If it is another one, and the setting does not allow that.
    """
    host = headers.get(HOST)
    if host is None or host.lower() == url.netloc.decode("ascii") or may_differ:
        return
    raise NodeError(
        f"httpHeaders: header 'Host' has another value than the host of httpUrl, "
        f"'{host[:_SHOWN_HOST]}'; the operator can allow it with HTTP_ALLOW_HOST_HEADER=true",
        retryable=False,
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
    """The URL with the pairs after its own query, which stays as it is written."""
    items = [
        (name, as_text(item))
        for name, value in _filled("httpQuery", pairs, data)
        for item in (cast("list[JsonValue]", value) if isinstance(value, list) else [value])
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
        # The input of a call is data, also when it happens to be a text.
        if isinstance(body, str):
            body = to_json(body)
    return None if body is None else encode_body(body, headers)
