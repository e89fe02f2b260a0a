"""Places in lists as opaque texts, for the caller to hand back."""

import base64
import binascii
from dataclasses import asdict
from typing import Any, Literal, cast

from database.queries.results import ExecutionCursor, StoredValue, WorkflowCursor
from engine.errors import InvalidCursorError
from engine.json_values import JsonValue, encode_json, load_json
from engine.surrogates import replace_lone_surrogates

MAX_POSITION = 2**63 - 1
"""What the widest integers of either database hold."""

_BYTES = "bytes"
"""Key of the base64 of a value that is stored as bytes."""

Kind = Literal["executions", "workflows"]


def encode_place(place: ExecutionCursor | WorkflowCursor | None) -> str | None:
    """The cursor of a place; ``None`` where there is nothing behind it."""
    if place is None:
        return None
    kind: Kind = "executions" if isinstance(place, ExecutionCursor) else "workflows"
    text = encode_json([kind, *map(_encoded, asdict(place).values())])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def execution_place(cursor: str | None) -> ExecutionCursor | None:
    """The place in a list of executions that a cursor stands for.

    Raises:
        InvalidCursorError: it is none of such a list.
    """
    match _decode(cursor):
        case None:
            return None
        case ["executions", created, int(position), execution] if 0 <= position <= MAX_POSITION:
            return ExecutionCursor(_decoded(created), int(position), _decoded(execution))
        case _:
            raise InvalidCursorError


def workflow_place(cursor: str | None) -> WorkflowCursor | None:
    """The place in a list of workflows that a cursor stands for.

    Raises:
        InvalidCursorError: it is none of such a list.
    """
    match _decode(cursor):
        case None:
            return None
        case ["workflows", created, workflow]:
            return WorkflowCursor(_decoded(created), _decoded(workflow))
        case _:
            raise InvalidCursorError


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


def _decode(cursor: str | None) -> list[Any] | None:
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = data.decode()
        value = load_json(text)
    except (binascii.Error, ValueError):
        raise InvalidCursorError from None
    # The service never issues half a surrogate pair, which ``load_json`` replaces.
    if not isinstance(value, list) or replace_lone_surrogates(text) != text:
        raise InvalidCursorError
    parts = cast("list[Any]", value)
    if any(isinstance(part, str) and "\0" in part for part in parts):
        raise InvalidCursorError  # no database would even be asked for it
    return parts
