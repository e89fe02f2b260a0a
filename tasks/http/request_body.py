"""Request bodies: encodes JSON, text and forms."""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import httpx2

from engine.errors import PermanentError
from engine.json_values import JsonValue, as_text, is_list, is_object, kind_of, load_json
from tasks.compute import to_json
from tasks.http.media_types import media_type

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_CONTENT_TYPE = "Content-Type"


def encode_body(body: JsonValue, headers: httpx2.Headers) -> bytes:
    """Return the bytes of a body, in the form that the ``Content-Type`` in ``headers`` names.

    An object with the type of a form becomes that form. A string is sent unchanged. Any other value
    is sent as JSON. Sets ``Content-Type`` if it is missing, or has no boundary. A form raises a
    ``NodeError`` for a body that is neither an object nor a string, and for an invalid file.
    """
    type_ = media_type(headers.get(_CONTENT_TYPE, ""))
    if type_ in {FORM, MULTIPART} and not isinstance(body, str):
        if not is_object(body):
            raise PermanentError(
                f"httpBody should be an object or a string for the Content-Type {type_}, "
                f"not of type {kind_of(body)}"
            )
        if type_ == FORM:
            return urlencode(list(_form_fields(body))).encode()
        return _multipart(body, headers)
    text = body if isinstance(body, str) else to_json(body)
    if _CONTENT_TYPE not in headers and (not isinstance(body, str) or _is_json(text)):
        headers[_CONTENT_TYPE] = "application/json"
    return text.encode(errors="replace")


def _form_fields(fields: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """Return the fields of a form: a list repeats its name, an object adds ``[key]`` to it."""
    for name, value in fields.items():
        yield from _form_field(name, value)


def _form_field(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if is_object(value):
        for key, inner in value.items():
            yield from _form_field(f"{name}[{key}]", inner)
    elif is_list(value):
        for index, inner in enumerate(value):
            nested = is_object(inner) or is_list(inner)
            yield from _form_field(f"{name}[{index}]" if nested else name, inner)
    else:
        yield name, as_text(value)


def _multipart(fields: Mapping[str, JsonValue], headers: httpx2.Headers) -> bytes:
    parts: list[tuple[str, tuple[str | None, bytes] | tuple[str | None, bytes, str]]] = []
    for name, value in fields.items():
        file = _file(name, value)
        if file is not None:
            parts.append((name, file))
        else:
            parts += [(key, (None, text.encode())) for key, text in _form_field(name, value)]
    if not parts:
        raise PermanentError(
            f"httpBody should have at least one field for the Content-Type {MULTIPART}"
        )
    # httpx2 keeps the boundary of the header, or adds one.
    given = {_CONTENT_TYPE: headers[_CONTENT_TYPE]} if "boundary=" in headers[_CONTENT_TYPE] else {}
    request = httpx2.Request("POST", "http://form.invalid/", files=parts, headers=given)
    headers[_CONTENT_TYPE] = request.headers[_CONTENT_TYPE]
    return request.read()


def _file(name: str, value: JsonValue) -> tuple[str, bytes, str] | None:
    """Return the file that a value describes, as http nodes and webhooks describe files."""
    if not is_object(value):
        return None
    data = value.get("base64")
    if data is None and value.get("encoding") == "base64":
        data = value.get("data")
    if not isinstance(data, str):
        return None
    try:
        content = b64decode(data, validate=True)
    except ValueError:
        raise PermanentError(f"httpBody: field '{name}' is not valid base64") from None
    type_ = value.get("contentType")
    return (
        str(value.get("fileName") or name),
        content,
        type_ if isinstance(type_, str) and type_.isprintable() else "application/octet-stream",
    )


def _is_json(text: str) -> bool:
    try:
        load_json(text)
    except ValueError:
        return False
    return True
