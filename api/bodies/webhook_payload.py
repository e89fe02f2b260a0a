"""Webhook payload: reads the body of a webhook, and creates the payload of the webhook node."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from api.bodies.forms import MULTIPART, URLENCODED, fields_of, read_multipart, read_urlencoded
from api.bodies.text import charset_of, decoded, decompressed, is_json_type, media_type_of
from charsets import parameter_of
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue, dump_json
from engine.masking import is_credential_header, masked_headers
from engine.request_errors import BodyTooLargeError, InvalidBodyError
from flows.intake.webhooks import Received
from offload import check_stop, run_sized

BYTES_SETTING = "MAX_WEBHOOK_BODY_BYTES"
_JSON = "application/json"
_TEXT = "text/plain"
_BINARY = "binary"
"""A value of ``charset`` that some senders use for files, although it is not a charset."""


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """Limits of webhook bodies; the composition root sets them."""

    max_request_body_bytes: int = 1_048_576
    max_form_fields: int = 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """A webhook request that was read completely. Header names are in lower case."""

    method: str
    headers: Mapping[str, str]
    query: list[tuple[str, str]]
    body: bytes
    limits: WebhookLimits

    async def received(self) -> Received:
        """Return the payload of the webhook node and the description of the request.

        A large or compressed body is decoded off the event loop.

        Raises:
            InvalidBodyError: If the body does not have the format that its headers name.
            BodyTooLargeError: If it is larger than the limit after decompression.
            ContentEncodingError: If its ``Content-Encoding`` is not supported.
        """
        size = len(self.body)
        if self.headers.get("content-encoding"):
            size = max(size, self.limits.max_request_body_bytes)
        return await run_sized(size, _received, self)


async def read_message(request: Request, limits: WebhookLimits) -> Message:
    """Read a webhook request with its body.

    Raises:
        BodyTooLargeError: If the body is larger than the limit; the rest is not read.
    """
    max_bytes = limits.max_request_body_bytes
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise BodyTooLargeError(max_bytes, BYTES_SETTING)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise BodyTooLargeError(max_bytes, BYTES_SETTING)
        pieces.append(piece)
    query = request.query_params.multi_items()
    names = request.headers.keys()
    headers = {name: ", ".join(request.headers.getlist(name)) for name in names}
    return Message(request.method, headers, query, b"".join(pieces), limits)


def _received(message: Message) -> Received:
    limits = message.limits
    encoding = message.headers.get("content-encoding", "")
    body = decompressed(message.body, encoding, limits.max_request_body_bytes, BYTES_SETTING)
    content_type = message.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    value, is_json = _value(media_type, content_type, body, limits)
    request: dict[str, JsonValue] = {
        "headers": masked_headers(message.headers),
        "query": fields_of(message.query),
        "method": message.method,
    }
    payload = _described(message, value, request)
    if is_json and isinstance(value, dict):
        payload = cast("dict[str, JsonValue]", value)
    try:
        dump_json(payload)
    except ValueError as error:
        raise InvalidBodyError("invalid_body", f"the body cannot be stored: {error}") from None
    return Received(cast("JsonValue", payload), request)


def _described(
    message: Message, value: JsonValue, request: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    headers = message.headers.items()
    shown = {name: value for name, value in headers if not is_credential_header(name)}
    return {"body": value, "query": request["query"], "headers": shown, "method": message.method}


def _value(
    media_type: str, content_type: str, body: bytes, limits: WebhookLimits
) -> tuple[JsonValue, bool]:
    """Return the value of a body, and whether it is JSON."""
    if media_type == MULTIPART:
        fields = limits.max_form_fields
        return read_multipart(body, content_type, fields, limits.max_request_body_bytes), False
    if media_type == URLENCODED:
        fields = limits.max_form_fields
        return (read_urlencoded(body, content_type, fields) if body else None), False
    is_json = is_json_type(media_type)
    label = parameter_of(content_type, "charset") or ""
    if label.lower() == _BINARY and not is_json:
        return (_base64(body) if body else None), False
    charset = charset_of(content_type)
    if not body:
        return None, is_json
    if is_json:
        return _json(decoded(body, charset, "the body", "invalid_json")), True
    try:
        text = charset.decode(body)
    except UnicodeDecodeError:
        return _base64(body), False
    if not media_type and text.lstrip().startswith(("{", "[")):
        try:
            return load_json_in_pieces(text, check_stop), True
        except ValueError:  # a string that begins like JSON
            return text, False
    return text, False


def _json(text: str) -> JsonValue:
    try:
        return load_json_in_pieces(text, check_stop)
    except ValueError as error:
        raise InvalidBodyError("invalid_json", f"the body is not valid JSON: {error}") from None


def _base64(data: bytes) -> dict[str, JsonValue]:
    return {"encoding": "base64", "data": base64.b64encode(data).decode()}
