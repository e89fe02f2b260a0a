"""The ``http`` node: builds a call from config and input, makes it, and reads the answer."""

import asyncio
import re
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
from engine.masking import masked_headers
from engine.values import JsonValue, as_text, dump_json, load_json
from tasks.config_base import fill, fill_text, read_config
from tasks.context import HandlerSettings, current_node_run
from tasks.http_client import (
    new_client,
    parse_retry_after,
    parse_url,
    plain_reason,
    shown_url,
)
from tasks.http_config import BasicAuth, BearerAuth, HttpConfig, Pair
from tasks.masking import SECRETS

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_WRITING_METHODS = _BODY_METHODS | {"DELETE"}
_SHOWN_BODY = 500
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


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
        return f"{self.method} {shown_url(self.url)}"


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
    call = build_call(config, input_data, run.idempotency_key)
    response = await _make(call, run.settings, config.timeout_seconds)
    _refuse_failure(call, response)
    return {
        "success": True,
        "message": f"{call.shown} answered {response.status_code}",
        "outputData": read_answer(call, response, config.http_response_type),
        "statusCode": response.status_code,
        "headers": masked_headers(response.headers),
    }


def build_call(config: HttpConfig, data: JsonValue, idempotency_key: str | None) -> Call:
    """The call that a config asks for over an input.

    Raises:
        NodeError: a template's field is missing, or what was filled in makes no valid call.
    """
    try:
        url = parse_url(fill_text("httpUrl", config.http_url, data).strip())
    except ValueError as error:
        raise NodeError(f"httpUrl {error}", retryable=False) from None
    headers = _headers(config.http_headers, data)
    auth_header = _authorize(headers, config, data)
    if idempotency_key and config.http_method in _WRITING_METHODS:
        headers.setdefault("Idempotency-Key", idempotency_key)
    content = _content(config, data, headers)
    url = _with_query(url, config.http_query, data)
    return Call(config.http_method, url, headers, content, auth_header)


def read_answer(call: Call, response: httpx2.Response, wanted: str) -> JsonValue:
    """The answer's value: its JSON, else ``{"response": text}``.

    Raises:
        NodeError: JSON is insisted on and the answer is none.
    """
    text = _text(response)
    if wanted == "text":
        return {"response": text}
    if wanted == "json":
        if not text and (call.method == "HEAD" or response.status_code == HTTPStatus.NO_CONTENT):
            return None
        try:
            return load_json(text)
        except ValueError as error:
            message = f"{call.shown} was to answer JSON, but did not: {error}"
            raise NodeError(message, retryable=False) from None
    if _says_json(response) or text.lstrip().startswith(("{", "[")):
        try:
            return load_json(text)
        except ValueError:
            pass
    return {"response": text}


async def _make(
    call: Call, settings: HandlerSettings, timeout_seconds: float | None
) -> httpx2.Response:
    limit_seconds = timeout_seconds or settings.http_timeout_seconds

    async def stay_authorized(request: httpx2.Request) -> None:
        # httpx2 drops Authorization on the way to another origin; an X-API-Key is as secret.
        if not _same_site(call.url, request.url):
            for name, value in list(request.headers.items()):
                if name == call.auth_header or is_credential_header(name) or SECRETS.holds(value):
                    del request.headers[name]

    try:
        async with (
            asyncio.timeout(limit_seconds),  # httpx2 limits each step; a slow body has many
            new_client(settings, limit_seconds, before_each=stay_authorized) as client,
        ):
            return await client.request(
                call.method, call.url, headers=call.headers, content=call.content
            )
    except (TimeoutError, httpx2.TimeoutException):
        raise NodeError(f"{call.shown}: no complete answer within {limit_seconds:g} s") from None
    except NodeError as error:  # the guard's, or the limit's
        raise NodeError(f"{call.shown}: {error}", retryable=error.retryable) from None
    except httpx2.TooManyRedirects:
        message = f"{call.shown} redirected more than {settings.http_max_redirects} times"
        raise NodeError(message, retryable=False) from None
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        raise NodeError(f"{call.shown}: {plain_reason(error)}", retryable=False) from None
    except httpx2.HTTPError as error:
        raise NodeError(f"{call.shown}: {plain_reason(error)}") from error


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
    body = SECRETS.text(_text(response)).strip()[:_SHOWN_BODY]
    raise NodeError(
        f"{answer}: {body}" if body else answer,
        retryable=status == HTTPStatus.TOO_MANY_REQUESTS
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
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
    return httpx2.Headers([(n, _header(n, v)) for n, v in filled], encoding="utf-8")


def _header(name: str, value: JsonValue) -> str:
    text = as_text(value).strip()
    if not _HEADER_NAME.fullmatch(name):
        raise NodeError(f"'{name}' cannot be the name of a header", retryable=False)
    if _CONTROL.search(text):
        raise NodeError(f"header '{name}' would have a line break in it", retryable=False)
    return text


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
    headers[name] = _header(name, value)
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
    if config.http_body is not None:
        body = fill("httpBody", config.http_body, data)
    else:
        body = data if config.http_method in _BODY_METHODS else None
        # The input of a call is data, also when it happens to be a text.
        if isinstance(body, str):
            body = dump_json(body)
    if body is None:
        return None
    text = body if isinstance(body, str) else dump_json(body)
    if "Content-Type" not in headers and (not isinstance(body, str) or _is_json(text)):
        headers["Content-Type"] = "application/json"
    return text.encode()


def _is_json(text: str) -> bool:
    try:
        load_json(text)
    except ValueError:
        return False
    return True


def _says_json(response: httpx2.Response) -> bool:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type in {"application/json", "text/json"} or media_type.endswith("+json")


def _text(response: httpx2.Response) -> str:
    """The body as text, in the charset that the answer names if there is such a one."""
    charset = (response.charset_encoding or "utf-8").lower()
    if charset not in {"utf-8", "utf8"}:
        try:
            text = response.content.decode(charset, "replace")
            # Some charsets can spell half a character, which no JSON and no database takes.
            return text.encode("utf-8", "replace").decode()
        except (LookupError, ValueError):
            pass  # named, but no charset of texts
    return response.content.decode("utf-8", "replace").removeprefix("\ufeff")
