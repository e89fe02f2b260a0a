"""Pagination: cursors that stand for a position in a list, as opaque strings."""

import base64
import binascii
from dataclasses import asdict
from typing import Any, Literal, cast

from database.queries.results import ExecutionCursor, StoredValue, WorkflowCursor
from engine.errors import InvalidCursorError
from engine.json_values import JsonValue, encode_json, load_json
from engine.surrogates import replace_lone_surrogates

MAX_POSITION = 2**63 - 1
"""Maximum integer of the databases."""

_BYTES = "bytes"
"""Key of a value that is stored as bytes, in base64."""

Kind = Literal["executions", "workflows"]


def encode_cursor(cursor: ExecutionCursor | WorkflowCursor | None) -> str | None:
    """Return a cursor as a string; ``None`` after the last page."""
    if cursor is None:
        return None
    kind: Kind = "executions" if isinstance(cursor, ExecutionCursor) else "workflows"
    text = encode_json([kind, *map(_encoded, asdict(cursor).values())])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_execution_cursor(cursor: str | None) -> ExecutionCursor | None:
    """Return the cursor of a list of executions.

    Raises:
        InvalidCursorError: If it was not issued by such a list.
    """
    match _decode(cursor):
        case None:
            return None
        case ["executions", created, int(position), execution] if 0 <= position <= MAX_POSITION:
            return ExecutionCursor(_decoded(created), int(position), _decoded(execution))
        case _:
            raise InvalidCursorError


def parse_workflow_cursor(cursor: str | None) -> WorkflowCursor | None:
    """Return the cursor of a list of workflows.

    Raises:
        InvalidCursorError: If it was not issued by such a list.
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
    # The service never issues lone surrogates, which ``load_json`` replaces.
    if not isinstance(value, list) or replace_lone_surrogates(text) != text:
        raise InvalidCursorError
    parts = cast("list[Any]", value)
    if any(isinstance(part, str) and "\0" in part for part in parts):
        raise InvalidCursorError  # PostgreSQL rejects it as a parameter
    return parts
