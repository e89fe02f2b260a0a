"""JSON values: reads fields and numbers, and checks, encodes and decodes values."""

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping
from heapq import nsmallest
from types import NoneType
from typing import Any, TypeGuard, cast
from unicodedata import normalize

JsonValue = Any
"""A JSON value: ``dict`` with string keys, ``list``, ``str``, ``int``, finite ``float``, ``bool``
or ``None``."""

MAX_DEPTH = 200
"""Maximum number of nested arrays and objects; far below the limit of the stack."""

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_MAX_NUMBER_CHARS = 300
_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\(u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_TOO_LARGE = 10**4300
"""Smallest integer that Python neither reads nor writes, because of its number of digits."""


class Missing:
    """The type of ``MISSING``."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()
"""Result of ``lookup`` for a missing field; ``None`` is a value."""


def is_object(value: object) -> TypeGuard[Mapping[str, JsonValue]]:
    """Return whether a JSON value is an object."""
    return isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101 - much faster


def is_list(value: object) -> TypeGuard[list[JsonValue]]:
    """Return whether a JSON value is an array."""
    return isinstance(value, list)


def is_blank(value: object) -> bool:
    """Return whether a value is not set: null or a string without characters."""
    return value is None or (isinstance(value, str) and not value.strip())


def lookup(value: JsonValue, path: str) -> JsonValue | Missing:
    """Return the value at a dotted path such as ``a.b.0.c``, or ``MISSING``.

    A field whose name contains dots has precedence: ``a.b`` finds the value in ``{"a.b": 1}``.
    Names are equal if their composed forms (NFC) are.
    """
    found, rest = value, path
    while True:
        head, dot, after = rest.partition(".")
        if is_object(found):
            whole = _field(found, rest)
            if not isinstance(whole, Missing):
                return whole
            found = _field(found, head)
            if isinstance(found, Missing):
                return MISSING
        elif is_list(found):
            if not _INDEX.fullmatch(head) or int(head) >= len(found):
                return MISSING
            found = found[int(head)]
        else:
            return MISSING
        if not dot:
            return found
        rest = after


def _field(fields: Mapping[str, JsonValue], name: str) -> JsonValue | Missing:
    if name in fields or name.isascii():
        return fields.get(name, MISSING)
    wanted = nfc(name)
    return next((inner for key, inner in fields.items() if nfc(key) == wanted), MISSING)


def nfc(text: str) -> str:
    """Return ``text`` in Unicode's composed form, in which equal characters are equal."""
    return text if text.isascii() else normalize("NFC", text)


def as_number(value: JsonValue) -> int | float | None:
    """Return ``value`` as a number, or ``None`` if it is not a number.

    Strings in the form of JSON numbers are numbers: ``"25"`` and ``" -1.5e3 "``, but not ``"007"``,
    ``"1_000"``, ``"nan"`` and ``True``.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if len(text) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else None


def as_text(value: JsonValue) -> str:
    """Return a string unchanged and every other value as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def hashable(value: JsonValue) -> Hashable:
    """Return a hashable value that is equal for equal JSON values.

    1 is 1.0, and ``True`` is neither. Strings are equal if their composed forms (NFC) are.
    """
    if isinstance(value, str):
        return ("text", nfc(value))
    if is_object(value):
        return ("object", frozenset((nfc(name), hashable(inner)) for name, inner in value.items()))
    if is_list(value):
        return ("list", tuple(hashable(item) for item in value))
    return (kind_of(value), value)


_KINDS: dict[type, str] = {
    NoneType: "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    Mapping: "object",
    list: "list",
    tuple: "list",
}
_MAX_LISTED_NAMES = 20
_SHOWN = 80
"""Maximum length of a value in an error message, in characters."""


def describe_value(value: JsonValue) -> str:
    """Return a value as an error shows it: strings in quotation marks, long values cut."""
    text = as_text(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def describe_fields(value: JsonValue) -> str:
    """Return the names of an object's fields, or the type of another value, for an error."""
    if not is_object(value):
        return f"it is of type {kind_of(value)}"
    return f"it has: {', '.join(nsmallest(_MAX_LISTED_NAMES, value)) or 'no fields'}"


def kind_of(value: object) -> str:
    """Return the JSON name of a value's type, for error messages."""
    names = (name for kind, name in _KINDS.items() if isinstance(value, kind))
    return next(names, type(value).__name__)


def json_error(value: object) -> str | None:
    """Return why and where JSON cannot represent ``value``; ``None`` if it can.

    It does not recurse, so that a deep or circular value does not exhaust the stack.
    """
    stack: list[tuple[object, str, int]] = [(value, "", 0)]
    while stack:
        item, where, depth = stack.pop()
        inside: Iterable[tuple[object, object]] = ()
        if is_object(item):
            inside = item.items()
        elif isinstance(item, list | tuple):
            inside = enumerate(cast("Iterable[object]", item))
        elif flaw := _flaw(item):
            return f"{flaw} at {where[1:]}" if where else flaw
        else:
            continue
        if depth >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        for key, inner in inside:
            if flaw := _flaw_of_key(key):
                return f"{flaw} at {where[1:]}" if where else flaw
            stack.append((inner, f"{where}.{key}", depth + 1))
    return None


def _flaw(item: object) -> str | None:
    if isinstance(item, str):
        return None if _is_unicode(item) else "a string that is not valid Unicode"
    if isinstance(item, int):
        return None if -_TOO_LARGE < item < _TOO_LARGE else "a number of more than 4300 digits"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"{item} is not a JSON number"
    return None if item is None else f"a value of type {type(item).__name__}"


def _flaw_of_key(key: object) -> str | None:
    if not isinstance(key, str | int | float | None):
        return f"an object key of type {type(key).__name__}"
    return None if _flaw(key) is None else "an object key that JSON cannot represent"


def dump_json(value: JsonValue, max_depth: int = MAX_DEPTH) -> str:
    """Return ``value`` as JSON text that a database can store.

    Otherwise a ``ValueError`` contains the reason and the path.
    """
    try:
        text = _ENCODER.encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(json_error(value) or str(error)) from None
    if not _is_unicode(text):
        raise ValueError(json_error(value))
    if _may_be_deep(text, max_depth) and _is_deep(value, max_depth):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return text


def encode_json(value: JsonValue) -> str:
    """Return ``value``, which was checked before, as JSON text."""
    return _ENCODER.encode(value)


def load_json(text: str | bytes) -> JsonValue:
    """Return the value of a JSON text, as strict as RFC 8259, with limited depth.

    ``NaN``, ``Infinity`` and numbers that would become infinite (``1e999``) are rejected, because
    databases cannot store them. A lone surrogate becomes U+FFFD. For a large text use
    ``load_json_in_pieces``.

    Raises:
        ValueError: If the text is not valid JSON; the message contains the position.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    text = replace_lone_surrogates(text)
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    check_json(text, value)
    return value


def replace_lone_surrogates(text: str) -> str:
    r"""Return a JSON text in which U+FFFD replaces every lone half of a surrogate pair.

    JavaScript cuts strings between the halves of a pair and writes the remaining half as an escape
    (``"hi \ud83d"``), which is valid JSON (RFC 8259, 8.2) and which no database stores. Both halves
    of a pair that is written as two escapes stay.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if _HALF_ESCAPE.search(text) is None:
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)


def structure_of(value: JsonValue) -> JsonValue:
    """Return the list or object that a string of JSON is; every other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return load_json(value)
        except ValueError:
            return value
    return value


def check_json(text: str, value: JsonValue) -> None:
    """Raise a ``ValueError`` if ``value``, read from the JSON ``text``, is nested too deeply."""
    if _may_be_deep(text) and _is_deep(value):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number


DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)
"""The decoder of one JSON value, as strict as ``load_json``."""


def _is_unicode(text: str) -> bool:
    """Return false if there is a lone surrogate, which databases reject."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_be_deep(text: str, max_depth: int = MAX_DEPTH) -> bool:
    return text.count("[") + text.count("{") > max_depth


_CONTAINERS = (dict, list, tuple)  # a union would be created for each value


def _is_deep(value: JsonValue, max_depth: int = MAX_DEPTH) -> bool:
    level: list[JsonValue] = [value]
    for _ in range(max_depth):
        level = [
            inner
            for item in level
            for inner in (item.values() if is_object(item) else item)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return False
    return True
