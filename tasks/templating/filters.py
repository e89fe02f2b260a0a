"""The filters of template expressions: ``{{ name | upper }}``. There are no others, and no calls.

Each takes JSON values and gives one. They are stricter than Jinja's own of the same names: what a
filter cannot be used on is an error, never an empty text or a zero.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import cast
from urllib.parse import quote

from more_itertools import batched

from engine.errors import TemplateError
from engine.json_encoding import PIECE_CHARACTERS, TooLargeError, encode_within, size_within
from engine.json_values import JsonValue, as_number, as_text, encode_json, kind_of, load_json
from offload import count_read
from tasks.context import current_node_run

VALUE_COST = 16
"""Characters that each value counts beyond its own when it is read."""
_MAX_DIGITS = 15
_MAX_FORMAT_CHARS = 100
_CODE = re.compile("%.")
_FORMAT = re.compile(r"([^%\0]|%[aAbBdHIjmMpSyYzZfGuVT%])*")
"""Codes without the widths that some platforms know: ``%999999999Y`` would be a gigabyte."""

Filter = Callable[..., object]


@dataclass(slots=True)
class _OutputBudget:
    """What the templates of one attempt of a node may still read."""

    left: int
    most: int


_work: ContextVar[_OutputBudget | None] = ContextVar("work", default=None)


def begin_reading() -> None:
    """Count what the templates of an attempt read from here on."""
    most = current_node_run().settings.max_template_read_bytes
    _work.set(_OutputBudget(most, most))


def charge(characters: int) -> None:
    """Count data that a template reads or makes; call it before that is done.

    Raises:
        TemplateError: If the templates of the attempt read too much altogether.
        WorkStoppedError: If the node has timed out or was cancelled.
        InlineLimitError: If it is too much for the event loop; see ``offload.run_counted``.
    """
    count_read(characters)
    work = _work.get()
    if work is None:
        return
    work.left -= characters
    if work.left < 0:
        raise TemplateError(
            f"the templates of the node would read more than {work.most} bytes "
            "(MAX_TEMPLATE_READ_BYTES)"
        )


def text_limit() -> int:
    """Return the maximum length of a text that a template may make."""
    return current_node_run().settings.max_node_result_bytes


def too_long(what: str) -> TemplateError:
    """Return the error of a text that would be too long."""
    return TemplateError(
        f"{what} would have more than {text_limit()} characters (MAX_NODE_RESULT_BYTES)"
    )


def measured(value: JsonValue, most: int) -> int | None:
    """Return about how large a value is, or ``None`` if more than ``most``; the reading counts."""
    size = size_within(value, min(most, PIECE_CHARACTERS))
    if size is None and most > PIECE_CHARACTERS:
        charge(PIECE_CHARACTERS + 1)
        size = size_within(value, most)
    charge(most if size is None else size)
    return size


def text_of(value: JsonValue) -> str:
    """Return a value as it stands in a text, and count what is read for it.

    Raises:
        TemplateError: If it would be too long, or the node has read too much.
    """
    if isinstance(value, str):
        charge(len(value) + VALUE_COST)
        return value
    return _encoded(value) if isinstance(value, list | Mapping) else as_text(value)


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
    """Stands for a field that is not there, until ``default`` takes its place."""

    reason: str


def default(value: object, fallback: JsonValue = "", empty: JsonValue = False) -> object:  # noqa: FBT002 - as it is called in templates
    """``fallback`` where there is no such field; with ``true`` also for null and what is empty."""
    missing = isinstance(value, MissingValue) or (bool(empty) and not value)
    return fallback if missing else value


def upper(value: JsonValue) -> str:
    """The text in capitals."""
    return _plain_text(value).upper()


def lower(value: JsonValue) -> str:
    """The text in small letters."""
    return _plain_text(value).lower()


def trim(value: JsonValue) -> str:
    """The text without the blanks around it."""
    return _plain_text(value).strip()


def json(value: JsonValue) -> str:
    """The value as JSON, a text in quotation marks: fit to stand inside a hand-written body."""
    return encode_json(value) if isinstance(value, str) else _encoded(value)


def fromjson(value: JsonValue) -> JsonValue:
    """The value that a text of JSON stands for."""
    if not isinstance(value, str):
        raise ValueError(f"takes a text of JSON, not {_described(value)}")  # noqa: TRY004 - told with the filter's name
    try:
        return load_json(value)
    except ValueError as error:
        raise ValueError(f"takes a text of JSON, not {_described(value)}: {error}") from None


def urlencode(value: JsonValue) -> str:
    """The text as a part of a URL; an object as a query, ``a=1&b=2``, a list as several values."""
    if isinstance(value, Mapping):
        if measured(value, text_limit()) is None:
            raise too_long("the text of the filter 'urlencode'")
        fields = cast("Mapping[str, JsonValue]", value)
        return "&".join(
            f"{quote(name, safe='')}={quote(_plain_text(item), safe='')}"
            for name, inner in fields.items()
            for item in (cast("list[JsonValue]", inner) if isinstance(inner, list) else [inner])
        )
    return quote(_plain_text(value), safe="")


def length(value: JsonValue) -> int:
    """Characters of a text, items of a list, fields of an object."""
    if isinstance(value, str | list | Mapping):
        return len(cast("Sized", value))
    raise ValueError(f"takes a text, a list or an object, not {_described(value)}")


def first(value: JsonValue) -> object:
    """The first item of a list, or character of a text; missing where there is none."""
    return _item(value, 0)


def last(value: JsonValue) -> object:
    """The last item of a list, or character of a text; missing where there is none."""
    return _item(value, -1)


def join(value: JsonValue, between: JsonValue = "") -> str:
    """The items of a list in one text."""
    if not isinstance(value, list):
        raise ValueError(f"takes a list, not {_described(value)}")  # noqa: TRY004 - told with the filter's name
    glue = as_text(between)
    texts: list[str] = []
    left = text_limit()
    for items in batched(cast("list[JsonValue]", value), _ITEMS_AT_ONCE):
        charge(VALUE_COST * len(items))
        more = [text_of(item) if isinstance(item, _SIZED) else as_text(item) for item in items]
        left -= sum(map(len, more)) + len(glue) * len(more)
        if left < 0:
            raise too_long("the text of the filter 'join'")
        texts += more
    return glue.join(texts)


def round_(value: JsonValue, digits: JsonValue = 0) -> int | float:
    """The number with so many decimals, 0 to 15; a half goes to the even neighbour."""
    number = _number(value)
    if not isinstance(digits, int) or not 0 <= digits <= _MAX_DIGITS:
        raise ValueError(f"takes 0 to {_MAX_DIGITS} as its number of decimals")
    return round(number, digits) if digits else round(number)


def int_(value: JsonValue) -> int:
    """The number, or the number that a text is, without its decimals."""
    return int(_number(value))


def date(value: JsonValue, format_: JsonValue = "%Y-%m-%d") -> str:
    """A date or moment of ISO 8601, written as ``format_`` says, in the zone that it names."""
    if not isinstance(format_, str) or len(format_) > _MAX_FORMAT_CHARS:
        raise ValueError(f"takes a text of up to {_MAX_FORMAT_CHARS} characters as its format")
    if not _FORMAT.fullmatch(format_):
        raise ValueError(f"does not know the format '{format_}'")
    try:
        moment = datetime.fromisoformat(_plain_text(value).strip())
    except ValueError:
        raise ValueError(f"takes a date or moment in ISO 8601, not {_described(value)}") from None
    # Some platforms write the year 33 as 33, which is no ISO 8601 any more.
    years = {"%Y": f"{moment.year:04}", "%G": f"{moment.isocalendar().year:04}"}
    return moment.strftime(_CODE.sub(lambda code: years.get(code[0], code[0]), format_))


def _item(value: JsonValue, index: int) -> object:
    if not isinstance(value, str | list):
        raise ValueError(f"takes a list or a text, not {_described(value)}")  # noqa: TRY004 - as above
    items = cast("list[JsonValue]", value)
    return (
        items[index]
        if items
        else MissingValue("there is no item in what 'first' or 'last' was given")
    )


def _plain_text(value: JsonValue) -> str:
    if isinstance(value, list | Mapping) or value is None:
        raise ValueError(f"takes a text, not {_described(value)}")
    return as_text(value)


def _number(value: JsonValue) -> int | float:
    number = as_number(value)
    if number is None:
        raise ValueError(f"takes a number, not {_described(value)}")
    return number


_SHOWN = 40
_SIZED = (str, list, dict)
_ITEMS_AT_ONCE = 1_000


def _described(value: JsonValue) -> str:
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= _SHOWN else f"'{value[:_SHOWN]}…'"
    return f"a value of type {kind_of(value)}"


def _strict(name: str, function: Filter) -> Filter:
    """``function`` for what is there: a missing field is told, and so is what it cannot take."""

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
        # Filters follow one another, and each ``json`` may double what the one before it gave.
        if isinstance(result, str):
            if len(result) > text_limit():
                raise too_long(f"the text of the filter '{name}'")
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
"""Every filter by its name."""
