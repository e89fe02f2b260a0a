"""Places in lists as opaque texts, for the caller to hand back."""

import base64
import binascii
from dataclasses import asdict
from typing import Any, Literal, cast

from database.records import ExecutionPlace, WorkflowPlace
from engine.errors import CursorRefusedError
from engine.values import encode_json, load_json

HIGHEST_POSITION = 2**63 - 1
"""What the widest integers of either database hold."""

Kind = Literal["executions", "workflows"]


def encode_place(place: ExecutionPlace | WorkflowPlace | None) -> str | None:
    """The cursor of a place; ``None`` where there is nothing behind it."""
    if place is None:
        return None
    kind: Kind = "executions" if isinstance(place, ExecutionPlace) else "workflows"
    text = encode_json([kind, *asdict(place).values()])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def execution_place(cursor: str | None) -> ExecutionPlace | None:
    """The place in a list of executions that a cursor stands for.

    Raises:
        CursorRefusedError: it is none of such a list.
    """
    match _decode(cursor):
        case None:
            return None
        case ["executions", str(created), int(position), str(execution)] if (
            0 <= position <= HIGHEST_POSITION
        ):
            return ExecutionPlace(created, int(position), execution)
        case _:
            raise CursorRefusedError


def workflow_place(cursor: str | None) -> WorkflowPlace | None:
    """The place in a list of workflows that a cursor stands for.

    Raises:
        CursorRefusedError: it is none of such a list.
    """
    match _decode(cursor):
        case None:
            return None
        case ["workflows", str(created), str(workflow)]:
            return WorkflowPlace(created, workflow)
        case _:
            raise CursorRefusedError


def _decode(cursor: str | None) -> list[Any] | None:
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = load_json(text)
    except (binascii.Error, ValueError):
        raise CursorRefusedError from None
    if not isinstance(value, list):
        raise CursorRefusedError
    parts = cast("list[Any]", value)
    if any(isinstance(part, str) and "\0" in part for part in parts):
        raise CursorRefusedError  # no database would even be asked for it
    return parts
