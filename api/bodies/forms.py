"""Form parser: reads ``application/x-www-form-urlencoded`` and ``multipart/form-data`` bodies.

The functions are CPU-bound. Callers run them off the event loop for a large body.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from api.bodies.text import charset_of, decoded
from charsets import UTF_8, Charset
from engine.json_values import JsonValue
from engine.request_errors import InvalidBodyError
from offload import check_stop

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FIELDS_SETTING = "MAX_WEBHOOK_FORM_FIELDS"

_INVALID = "invalid_form"
_PIECE_BYTES = 65_536


def read_urlencoded(body: bytes, content_type: str, max_fields: int) -> dict[str, JsonValue]:
    """Return the fields of an urlencoded form; a repeated name has a list of values.

    Raises:
        InvalidBodyError: If there are too many fields, or one is not in the form's charset.
    """
    charset = charset_of(content_type)
    if charset.name.startswith("utf-16"):  # the delimiters are not single bytes
        body, charset = decoded(body, charset, "the form", _INVALID).encode(), UTF_8
    if body.count(b"&") >= max_fields:
        raise _too_many(max_fields)
    pairs = [item.replace(b"+", b" ").partition(b"=") for item in body.split(b"&") if item]
    raw = [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
    return fields_of((_name(name, charset), _text(value, name, charset)) for name, value in raw)


def read_multipart(
    body: bytes, content_type: str, max_fields: int, max_bytes: int
) -> dict[str, JsonValue]:
    """Return the fields of a multipart form; a file is ``{fileName, contentType, size, data}``.

    Raises:
        InvalidBodyError: If the form is invalid, or has too many fields.
    """
    charset = charset_of(content_type)
    collected = _Parts(max_fields)
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidBodyError(_INVALID, "the form cannot be read: 'Content-Type' has no boundary")
    try:
        parser = FormParser(
            MULTIPART,
            collected.add,
            collected.add,
            collected.end,
            boundary,
            config={"MAX_BODY_SIZE": max_bytes + 1, "MAX_MEMORY_FILE_SIZE": float("inf")},
        )
        for start in range(0, len(body), _PIECE_BYTES):
            check_stop()
            parser.write(body[start : start + _PIECE_BYTES])
    except FormParserError as error:
        reason = str(error) or "it is not multipart/form-data"
        raise InvalidBodyError(_INVALID, f"the form cannot be read: {reason}") from None
    if body and not collected.is_whole:
        reason = "it ends before its last boundary"
        raise InvalidBodyError(_INVALID, f"the form cannot be read: {reason}")
    return fields_of(
        (_name(part.field_name or b"", charset), _part(part, charset)) for part in collected.parts
    )


@dataclass(slots=True)
class _Parts:
    """The parts of a form, in the order of the body."""

    max_fields: int
    parts: list[Field | File] = field(default_factory=list[Field | File])
    is_whole: bool = False

    def add(self, part: Field | File) -> None:
        if len(self.parts) >= self.max_fields:
            raise _too_many(self.max_fields)
        self.parts.append(part)

    def end(self) -> None:
        self.is_whole = True


def _part(part: Field | File, charset: Charset) -> JsonValue:
    content_type = part.content_type or ""
    if isinstance(part, Field):
        return _text(part.value or b"", part.field_name or b"", charset_of(content_type, charset))
    part.file_object.seek(0)
    content = part.file_object.read()
    return {
        "fileName": _name(part.file_name or b"", charset),
        "contentType": content_type or None,
        "size": len(content),
        "encoding": "base64",
        "data": base64.b64encode(content).decode(),
    }


def _too_many(max_fields: int) -> InvalidBodyError:
    detail = f"the form has more than {max_fields} fields ({FIELDS_SETTING})"
    return InvalidBodyError(_INVALID, detail)


def _name(name: bytes, charset: Charset) -> str:
    return decoded(name, charset, "the name of a form field", _INVALID)


def _text(value: bytes, name: bytes, charset: Charset) -> str:
    shown = name[:80].decode("utf-8", "replace")
    return decoded(value, charset, f"the form field '{shown}'", _INVALID)


def fields_of(items: Iterable[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """Return pairs as an object; a repeated name has a list of values."""
    gathered: dict[str, list[JsonValue]] = {}
    for name, value in items:
        gathered.setdefault(name, []).append(value)
    return {
        name: values[0] if len(values) == 1 else cast("JsonValue", values)
        for name, values in gathered.items()
    }
