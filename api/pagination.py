"""Pagination: cursors that stand for a position in a list, as opaque strings."""

import base64
from dataclasses import asdict, fields
from typing import Any, TypeVar, cast

from database.bulk.records import BulkCursor
from database.queries.results import (
    ExecutionCursor,
    KeptEventCursor,
    ScheduleCursor,
    StoredValue,
    TaskCursor,
    WorkflowCursor,
)
from engine.errors import InvalidCursorError
from engine.json_values import JsonValue, encode_json, load_json, replace_lone_surrogates

MAX_POSITION = 2**63 - 1
"""Maximum integer of the databases."""

_BYTES = "bytes"
"""Key of a value that is stored as bytes, in base64."""

AnyCursor = (
    ExecutionCursor | WorkflowCursor | ScheduleCursor | TaskCursor | BulkCursor | KeptEventCursor
)

C = TypeVar("C", bound=AnyCursor)

_KINDS: dict[type[AnyCursor], str] = {
    ExecutionCursor: "executions",
    WorkflowCursor: "workflows",
    ScheduleCursor: "schedules",
    TaskCursor: "tasks",
    BulkCursor: "bulk",
    KeptEventCursor: "events",
}


def encode_cursor(cursor: AnyCursor | None) -> str | None:
    """Return a cursor as a string; ``None`` after the last page."""
    if cursor is None:
        return None
    text = encode_json([_KINDS[type(cursor)], *map(_encoded, asdict(cursor).values())])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(kind: type[C], cursor: str | None) -> C | None:
    """Return the cursor of a list of this kind; ``None`` for the first page.

    Raises:
        InvalidCursorError: If it was not issued by such a list.
    """
    if cursor is None:
        return None
    name, *parts = _decode(cursor) or [None]
    values = {field.name: _decoded(part) for field, part in zip(fields(kind), parts, strict=False)}
    position = values.get("position", 0)
    if name != _KINDS[kind] or len(parts) != len(fields(kind)):
        raise InvalidCursorError
    if not isinstance(position, int) or position < 0:
        raise InvalidCursorError
    if kind in (TaskCursor, BulkCursor) and not all(
        isinstance(value, str) for value in values.values()
    ):
        raise InvalidCursorError
    return kind(**cast("dict[str, Any]", values))


def _encoded(value: StoredValue) -> JsonValue:
    return {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _decoded(value: JsonValue) -> StoredValue:
    match value:
        case str() | float():
            return value
        case int() if abs(value) <= MAX_POSITION and not isinstance(value, bool):
            return value
        case {"bytes": str(text)}:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                raise InvalidCursorError from None
        case _:
            raise InvalidCursorError


def _decode(cursor: str) -> list[Any]:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = data.decode()
        value = load_json(text)
    except ValueError:  # also ``binascii.Error``
        raise InvalidCursorError from None
    # The service never issues lone surrogates, which ``load_json`` replaces.
    if not isinstance(value, list) or replace_lone_surrogates(text) != text:
        raise InvalidCursorError
    parts = cast("list[Any]", value)
    if any(isinstance(part, str) and "\0" in part for part in parts):
        raise InvalidCursorError  # PostgreSQL rejects it as a parameter
    return parts
