"""Template filters: the fixed set of functions in expressions, such as ``{{ name | upper }}``.

Each accepts JSON values and returns one. They are stricter than Jinja's filters of the same names:
an unsuitable value is an error, not an empty string or a zero.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from urllib.parse import quote

from more_itertools import batched

from engine.errors import TemplateError
from engine.json_encoding import PIECE_CHARACTERS, TooLargeError, encode_within, size_within
from engine.json_values import (
    JsonValue,
    as_number,
    as_text,
    encode_json,
    is_list,
    is_object,
    kind_of,
    load_json,
)
from offload import count_read
from tasks.context import ReadBudget, current_node_run, enter_node_run

VALUE_COST = 16
"""Cost of reading one value in addition to its own size, in characters."""
_MAX_DIGITS = 15
_MAX_FORMAT_CHARS = 100
_CODE = re.compile("%.")
_FORMAT = re.compile(r"([^%\0]|%[aAbBdHIjmMpSyYzZfGuVT%])*")
"""Codes without widths, because some platforms would expand ``%999999999Y`` to a gigabyte."""

Filter = Callable[..., object]


def start_read_budget() -> None:
    """Start counting the characters that the templates of an attempt read."""
    run = current_node_run()
    limit = run.settings.max_template_read_bytes
    enter_node_run(replace(run, read_budget=ReadBudget(limit, limit)))


def charge(characters: int) -> None:
    """Count data that a template is about to read or create.

    Raises:
        TemplateError: If the templates of the attempt exceed their limit.
        WorkStoppedError: If the node has timed out or was cancelled.
        InlineLimitError: If the data is too large for the event loop; see ``offload.run_counted``.
    """
    count_read(characters)
    budget = current_node_run().read_budget
    if budget is None:
        return
    budget.left -= characters
    if budget.left < 0:
        raise TemplateError(
            f"the templates of the node would read more than {budget.limit} bytes "
            "(MAX_TEMPLATE_READ_BYTES)"
        )


def text_limit() -> int:
    """Return the maximum length of a string that a template may create."""
    return current_node_run().settings.max_node_result_bytes


def too_long(what: str) -> TemplateError:
    """Return the error for a string that would be too long."""
    return TemplateError(
        f"{what} would have more than {text_limit()} characters (MAX_NODE_RESULT_BYTES)"
    )


def measured(value: JsonValue, limit: int) -> int | None:
    """Return the approximate size of a value, or ``None`` above ``limit``; count it as read."""
    size = size_within(value, min(limit, PIECE_CHARACTERS))
    if size is None and limit > PIECE_CHARACTERS:
        charge(PIECE_CHARACTERS + 1)
        size = size_within(value, limit)
    charge(limit if size is None else size)
    return size


def text_of(value: JsonValue) -> str:
    """Return a value as part of a string, and count the reading.

    Raises a ``TemplateError`` if the string is too long, or a limit of reading is exceeded.
    """
    if isinstance(value, str):
        charge(len(value) + VALUE_COST)
        return value
    return _encoded(value) if is_list(value) or is_object(value) else as_text(value)


def _encoded(value: JsonValue) -> str:
    size = size_within(value, PIECE_CHARACTERS)
    if size is not None:
        charge(size + VALUE_COST)
        return encode_json(value)
    try:
        return encode_within(value, text_limit(), partial(charge, PIECE_CHARACTERS), copies=False)[
            0
        ]
    except TooLargeError:
        raise too_long("the JSON of a value") from None


@dataclass(frozen=True, slots=True)
class MissingValue:
    """A missing field; the filter ``default`` replaces it, everything else raises."""

    reason: str


def default(value: object, fallback: JsonValue = "", empty: JsonValue = False) -> object:  # noqa: FBT002 - as it is called in templates
    """Return ``fallback`` for a missing field; with ``empty`` also for null or empty values."""
    missing = isinstance(value, MissingValue) or (bool(empty) and not value)
    return fallback if missing else value


def upper(value: JsonValue) -> str:
    """Return the string in upper case."""
    return _plain_text(value).upper()


def lower(value: JsonValue) -> str:
    """Return the string in lower case."""
    return _plain_text(value).lower()


def trim(value: JsonValue) -> str:
    """Return the string without surrounding white space."""
    return _plain_text(value).strip()


def json(value: JsonValue) -> str:
    """Return the value as JSON, so that it can be part of a hand-written body."""
    return encode_json(value) if isinstance(value, str) else _encoded(value)


def fromjson(value: JsonValue) -> JsonValue:
    """Return the value of a JSON string."""
    if not isinstance(value, str):
        raise ValueError(f"accepts a JSON string, not {_described(value)}")  # noqa: TRY004 - the caller adds the filter's name
    try:
        return load_json(value)
    except ValueError as error:
        raise ValueError(f"accepts a JSON string, not {_described(value)}: {error}") from None


def urlencode(value: JsonValue) -> str:
    """Return a string as part of a URL, or an object as a query; lists repeat their key."""
    if is_object(value):
        if measured(value, text_limit()) is None:
            raise too_long("the string of the filter 'urlencode'")
        return "&".join(
            f"{quote(name, safe='')}={quote(_plain_text(item), safe='')}"
            for name, inner in value.items()
            for item in (inner if is_list(inner) else [inner])
        )
    return quote(_plain_text(value), safe="")


def length(value: JsonValue) -> int:
    """Return the number of characters, items or fields."""
    if isinstance(value, str) or is_list(value) or is_object(value):
        return len(value)
    raise ValueError(f"accepts a string, a list or an object, not {_described(value)}")


def first(value: JsonValue) -> object:
    """Return the first item or character; an empty value has none."""
    return _item(value, 0)


def last(value: JsonValue) -> object:
    """Return the last item or character; an empty value has none."""
    return _item(value, -1)


def join(value: JsonValue, between: JsonValue = "") -> str:
    """Return the items of a list as one string."""
    if not is_list(value):
        raise ValueError(f"accepts a list, not {_described(value)}")
    separator = as_text(between)
    texts: list[str] = []
    left = text_limit()
    for items in batched(value, _ITEMS_AT_ONCE):
        charge(VALUE_COST * len(items))
        strings = [text_of(item) if isinstance(item, _SIZED) else as_text(item) for item in items]
        left -= sum(map(len, strings)) + len(separator) * len(strings)
        if left < 0:
            raise too_long("the string of the filter 'join'")
        texts += strings
    return separator.join(texts)


def round_(value: JsonValue, digits: JsonValue = 0) -> int | float:
    """Return the number with 0 to 15 decimals; halves are rounded to the even neighbor."""
    number = _number(value)
    if not isinstance(digits, int) or not 0 <= digits <= _MAX_DIGITS:
        raise ValueError(f"accepts 0 to {_MAX_DIGITS} decimals")
    return round(number, digits) if digits else round(number)


def int_(value: JsonValue) -> int:
    """Return the number, or the number in a string, without decimals."""
    return int(_number(value))


def date(value: JsonValue, format_: JsonValue = "%Y-%m-%d") -> str:
    """Return an ISO 8601 date or timestamp in another format, in its own time zone."""
    if not isinstance(format_, str) or len(format_) > _MAX_FORMAT_CHARS:
        raise ValueError(f"accepts a format of up to {_MAX_FORMAT_CHARS} characters")
    if not _FORMAT.fullmatch(format_):
        raise ValueError(f"does not support the format '{format_}'")
    try:
        timestamp = datetime.fromisoformat(_plain_text(value).strip())
    except ValueError:
        raise ValueError(f"accepts an ISO 8601 timestamp, not {_described(value)}") from None
    # Some platforms format the year 33 as "33", which is not valid ISO 8601.
    years = {"%Y": f"{timestamp.year:04}", "%G": f"{timestamp.isocalendar().year:04}"}
    return timestamp.strftime(_CODE.sub(lambda code: years.get(code[0], code[0]), format_))


def _item(value: JsonValue, index: int) -> object:
    if not isinstance(value, str) and not is_list(value):
        raise ValueError(f"accepts a list or a string, not {_described(value)}")
    return value[index] if value else MissingValue("the value of 'first' or 'last' is empty")


def _plain_text(value: JsonValue) -> str:
    if is_list(value) or is_object(value) or value is None:
        raise ValueError(f"accepts a string, not {_described(value)}")
    return as_text(value)


def _number(value: JsonValue) -> int | float:
    number = as_number(value)
    if number is None:
        raise ValueError(f"accepts a number, not {_described(value)}")
    return number


_SHOWN = 40
_SIZED = (str, list, dict)
_ITEMS_AT_ONCE = 1_000


def _described(value: JsonValue) -> str:
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= _SHOWN else f"'{value[:_SHOWN]}…'"
    return f"a value of type {kind_of(value)}"


def _strict(name: str, function: Filter) -> Filter:
    """Return ``function`` with errors for missing fields and for values that it does not accept."""

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        for value in (*args, *kwargs.values()):
            if isinstance(value, MissingValue):
                raise TemplateError(value.reason)
            charge(len(value) if isinstance(value, str) else VALUE_COST)
        try:
            result = function(*args, **kwargs)
        except (ValueError, OverflowError) as error:
            raise TemplateError(f"the filter '{name}' {error}") from None
        # Checked after each filter, because each ``json`` in a chain may double its input.
        if isinstance(result, str):
            if len(result) > text_limit():
                raise too_long(f"the string of the filter '{name}'")
            charge(len(result))
        return result

    return run


_STRICT: dict[str, Filter] = {
    "upper": upper,
    "lower": lower,
    "trim": trim,
    "json": json,
    "fromjson": fromjson,
    "urlencode": urlencode,
    "length": length,
    "first": first,
    "last": last,
    "join": join,
    "round": round_,
    "int": int_,
    "date": date,
}

FILTERS: dict[str, Filter] = {
    "default": default,
    **{name: _strict(name, function) for name, function in _STRICT.items()},
}
"""Filters by name."""
