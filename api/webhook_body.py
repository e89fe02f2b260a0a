"""The bodies of deliveries: read up to a limit, and what the webhook node is given of them."""

import base64
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import cast
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from engine.credential_headers import is_credential_header
from engine.errors import BodyRefusedError, BodyTooLargeError
from engine.values import JsonValue, dump_json, load_json

MOST_BYTES = 1024 * 1024
MOST_FIELDS = 1_000
"""How many fields a form may have."""

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


async def read_body(request: Request) -> bytes:
    """The body, as it was sent.

    Raises:
        BodyTooLargeError: it is longer than ``MOST_BYTES``; the rest is not read.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MOST_BYTES:
        raise BodyTooLargeError(MOST_BYTES)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BYTES:
            raise BodyTooLargeError(MOST_BYTES)
        pieces.append(piece)
    return b"".join(pieces)


def headers_of(request: Request) -> dict[str, str]:
    """The headers by names in lower case; of one that came several times all values."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_form(request: Request, body: bytes) -> JsonValue:
    """The fields of a form with parts, a file as an object; ``None`` where it is no such form.

    Raises:
        BodyRefusedError: it cannot be read.
    """
    if _media_type(request) != _MULTIPART:
        return None

    async def stream() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(
        request.headers,
        stream(),
        max_files=MOST_FIELDS,
        max_fields=MOST_FIELDS,
        max_part_size=MOST_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BodyRefusedError(
            "invalid_form", f"the form cannot be read: {error.message}"
        ) from None
    except (ValueError, LookupError):  # a charset that is none of texts
        raise BodyRefusedError("invalid_form", "the form cannot be read") from None
    try:
        fields = [(name, await _part(value)) for name, value in form.multi_items()]
    finally:
        await form.close()
    return _fields(fields)


def payload_of(request: Request, body: bytes, form: JsonValue) -> JsonValue:
    """What the webhook node is given: the fields of a JSON object, else
    ``{"body", "query", "headers", "method"}``. ``form`` is what ``read_form`` gave.

    Raises:
        BodyRefusedError: the body is not what its content type says.
    """
    media_type = _media_type(request) or _guessed(body)
    value: JsonValue = form if form is not None else _value(media_type, body)
    is_object = isinstance(value, dict) and _says_json(media_type)
    payload = cast("JsonValue", value) if is_object else _described(request, value)
    try:
        dump_json(payload)
    except ValueError as error:
        raise BodyRefusedError("invalid_body", f"the body cannot be stored: {error}") from None
    return payload


def _described(request: Request, value: JsonValue) -> JsonValue:
    headers = headers_of(request)
    return {
        "body": value,
        "query": _fields(request.query_params.multi_items()),
        "headers": {
            name: value for name, value in headers.items() if not is_credential_header(name)
        },
        "method": request.method,
    }


def _guessed(body: bytes) -> str:
    """What a body is of which nobody says it: JSON where it is an object or a list."""
    if body.lstrip().startswith((b"{", b"[")):
        with suppress(ValueError):
            load_json(body)
            return "application/json"
    return "text/plain"


def _value(media_type: str, body: bytes) -> JsonValue:
    if not body:
        return None
    if _says_json(media_type):
        try:
            return load_json(body)
        except ValueError as error:
            raise BodyRefusedError("invalid_json", f"the body is no JSON: {error}") from None
    if media_type == _FORM:
        try:
            return _fields(
                parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
            )
        except UnicodeDecodeError:
            raise BodyRefusedError("invalid_form", "the form is not UTF-8") from None
        except ValueError:
            reason = f"the form has more than {MOST_FIELDS} fields"
            raise BodyRefusedError("invalid_form", reason) from None
    return _text_or_base64(body)


def _text_or_base64(body: bytes) -> JsonValue:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _base64(body)


def _base64(data: bytes) -> dict[str, JsonValue]:
    return {"encoding": "base64", "data": base64.b64encode(data).decode()}


async def _part(value: UploadFile | str) -> JsonValue:
    if isinstance(value, str):
        return value
    content = await value.read()
    about: dict[str, JsonValue] = {
        "fileName": value.filename,
        "contentType": value.content_type,
        "size": len(content),
    }
    return about | _base64(content)


def _fields(items: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """Pairs as an object; of a name that came several times a list."""
    gathered: dict[str, list[JsonValue]] = {}
    for name, value in items:
        gathered.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in gathered.items()}


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _says_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")
