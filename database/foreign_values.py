"""Values of the shared tables: read as they are, whatever type another program stored.

SQLite stores any value in any column, for example bytes in a column that is declared as a number.
PostgreSQL returns the types of the columns that another program created. Every value of a shared
table passes through this module, so that no stored value makes a read fail.
"""

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import ColumnElement, Text, func, literal
from sqlalchemy import cast as sql_cast

from database.records import Payload
from engine.json_encoding import MAX_PARTS_PER_CALL
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue, check_json, encode_json, load_json
from offload import check_stop

MAX_SHORT_TEXT_CHARACTERS = 8_192
"""Maximum length of a column that is shown in a list or in the logs of a poll, in characters."""

Duration = int | float | str | None
"""Milliseconds as an integer in rows of this service; any number or string in other rows."""


def text_of(value: object) -> str | None:
    """Return a column's value as a string; ``None`` for ``NULL``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict | list):  # a JSON column of PostgreSQL
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def required_text_of(value: object) -> str:
    """Return a column's value as a string; empty for ``NULL``."""
    return text_of(value) or ""


def short_text_of(value: object) -> str | None:
    """Return at most ``MAX_SHORT_TEXT_CHARACTERS`` of a column's text, with ``…`` if it is cut."""
    text = text_of(value)
    if text is None or len(text) <= MAX_SHORT_TEXT_CHARACTERS:
        return text
    return f"{text[:MAX_SHORT_TEXT_CHARACTERS]}…"


def number_of(value: object) -> Duration:
    """Return a number unchanged; a string for every value that is not a JSON number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return text_of(value)


def integer_of(value: object) -> int | None:
    """Return an integer column's value; ``None`` if another program stored something else."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def payload_of(value: object, size: object, cut_at: int | None) -> Payload | None:
    """Return a JSON column of ``size`` characters, of which ``cut_at`` were read."""
    text = text_of(value)
    if text is None:
        return None
    length = integer_of(size) or 0
    if cut_at is None or length <= cut_at:
        return Payload(text, len(text))
    return Payload(text[:cut_at], length, cut=True)


def _load(text: str) -> JsonValue:
    """Return the value of strict JSON; many values are read in pieces, so that threads can switch.

    Raises:
        ValueError: If it is not valid.
    """
    parts = text.count(",") + text.count("[") + text.count("{")
    if parts <= MAX_PARTS_PER_CALL:
        return load_json(text)
    value = load_json_in_pieces(text, check_stop)
    check_json(text, value)
    return value


def object_of(value: object) -> dict[str, JsonValue]:
    """Return the object of a JSON column; empty if the column holds anything else."""
    try:
        found: Any = _load(text_of(value) or "{}")
    except ValueError:
        return {}
    return cast("dict[str, JsonValue]", found) if isinstance(found, dict) else {}


def json_of(value: object) -> JsonValue:
    """Return the value of a JSON column; its text if that is not valid JSON."""
    text = text_of(value)
    if text is None:
        return None
    try:
        return _load(text)
    except ValueError:
        return text


def raw_json_of(text: str) -> str:
    """Return JSON text unchanged if it is valid; otherwise the text as a JSON string."""
    try:
        _load(text)
    except ValueError:
        return encode_json(text)
    return text


def as_text_column(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return the SQL for a column's text, so that bytes are counted and cut as characters."""
    return sql_cast(column, Text)


def cut(column: ColumnElement[Any], characters: int | None) -> ColumnElement[Any]:
    """Return the SQL for the first ``characters`` of a column; all of it with ``None``."""
    if characters is None:
        return column
    return func.substr(as_text_column(column), literal(1), literal(characters))
