"""Task form: the fields of a JSON Schema for a page, and the data that the page sends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.json_values import JsonValue, as_text, is_list, is_object, load_json

FIELD_PREFIX = "field."
"""Prefix of the names of the fields of a form in the body of a request."""
MAX_LINE_CHARS = 200
"""Maximum ``maxLength`` of a text with a field of one line, in characters."""
_INPUTS: dict[str, str] = {"date": "date", "email": "email"}


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the page."""

    name: str
    title: str
    description: str
    kind: str
    """One of ``text``, ``date``, ``email``, ``number``, ``checkbox``, ``select``, ``textarea`` and
    ``json``."""
    required: bool
    options: tuple[tuple[str, JsonValue], ...] = ()
    """The text and the value of each option."""
    text: str = ""
    """The text that the page shows in the field."""


def fields_of(form: Mapping[str, Any] | None, sent: Mapping[str, str]) -> list[FormField]:
    """Return the fields of a form; ``sent`` contains the texts of the last request, if any."""
    properties = (form or {}).get("properties")
    required = (form or {}).get("required")
    names = required if is_list(required) else []
    return [
        _field(name, schema if is_object(schema) else {}, name in names, sent)
        for name, schema in (properties.items() if is_object(properties) else ())
    ]


def _field(
    name: str, schema: Mapping[str, Any], is_required: object, sent: Mapping[str, str]
) -> FormField:
    options: tuple[tuple[str, JsonValue], ...] = ()
    if is_list(values := schema.get("enum")):
        options = tuple((as_text(value), value) for value in values)
    default = schema.get("default")
    text = "" if default is None else as_text(default)
    return FormField(
        name,
        as_text(schema.get("title") or name),
        as_text(schema.get("description") or ""),
        _kind(schema),
        bool(is_required),
        options,
        sent.get(name, "") if sent else text,
    )


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "string" if "format" in schema else None)
    if is_list(schema.get("enum")):
        return "select"
    if kind == "boolean":
        return "checkbox"
    if kind in ("number", "integer"):
        return "number"
    if kind != "string":
        return "json"
    long = schema.get("maxLength", 0)
    if isinstance(long, int) and long > MAX_LINE_CHARS:
        return "textarea"
    return _INPUTS.get(str(schema.get("format")), "text")


def data_of(fields: list[FormField], sent: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the data that a page sent.

    Blank fields are omitted. A text that is not a number or not JSON stays a text, so that the
    schema rejects it with the name of its field.
    """
    found: dict[str, JsonValue] = {}
    for field in fields:
        text = sent.get(field.name, "")
        if field.kind == "checkbox":
            found[field.name] = bool(text)
        elif text.strip():
            found[field.name] = _value(field, text)
    return found


def _value(field: FormField, text: str) -> JsonValue:
    if field.kind == "select":
        return dict(field.options).get(text, text)
    if field.kind in ("number", "json"):
        try:
            return load_json(text)
        except ValueError:
            return text
    return text.replace("\r\n", "\n")
