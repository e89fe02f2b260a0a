"""Large JSON texts, counted and read in pieces of a few milliseconds.

The C scanner of the standard library holds the interpreter lock until the end of a text, so that a
thread that reads 10 MB of JSON stops all other threads for up to a second.
"""

import re
from collections.abc import Callable
from json import JSONDecodeError
from typing import cast

from engine.json_values import (
    DECODER,
    MAX_DEPTH,
    JsonValue,
    check_json,
    load_json,
    replace_lone_surrogates,
)

WINDOW_CHARACTERS = 65_536
"""Maximum number of characters that one call of the C scanner reads, except longer strings."""

_NUMBER_BREAK_CHARACTERS = 3
"""Length of the longest part of a number, ``e+`` and what follows, that is not a number itself."""

_SPACE = re.compile(r"[ \t\n\r]*")
# The annotations of the standard library do not contain it.
_scan_once = cast("Callable[[str, int], tuple[JsonValue, int]]", getattr(DECODER, "scan_once"))  # noqa: B009 - see above


def load_json_in_pieces(text: str, tick: Callable[[], object]) -> JsonValue:
    """Return the value of a JSON text, exactly as ``load_json``.

    ``tick`` is called between two pieces; an exception from it ends the reading.

    Raises:
        ValueError: If the text is not valid JSON; the message contains the position.
    """
    if len(text) <= WINDOW_CHARACTERS:
        return load_json(text)
    text = replace_lone_surrogates(text)
    if text.startswith("\ufeff"):
        raise JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    reader = _Reader(text, tick)
    try:
        value, at = reader.value(reader.after_space(0), 0)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    at = reader.after_space(at)
    if at != len(text):
        raise JSONDecodeError("Extra data", text, at)
    tick()
    check_json(text, value)
    return value


class _Reader:
    """A window of a text, which the C scanner reads."""

    def __init__(self, text: str, tick: Callable[[], object]) -> None:
        self._text = text
        self._tick = tick
        self._base = 0
        self._window = text[:WINDOW_CHARACTERS]

    def after_space(self, at: int) -> int:
        """Return the position of the next character that is not white space."""
        found = _SPACE.match(self._text, at)
        return at if found is None else found.end()

    def value(self, at: int, depth: int) -> tuple[JsonValue, int]:
        """Return the value at ``at`` and the position after it; ``ValueError`` if it is invalid."""
        found = self._scan(at)
        if found is not None:
            return found
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        self._tick()
        opening = self._text[at : at + 1]
        if opening == "[":
            return self._list(at, depth)
        if opening == "{":
            return self._object(at, depth)
        return self._scalar(at)

    def _scalar(self, at: int) -> tuple[JsonValue, int]:
        try:
            return _scan_once(self._text, at)
        except StopIteration as stop:
            position = cast("int", stop.value)
            raise JSONDecodeError("Expecting value", self._text, position) from None

    def _scan(self, at: int) -> tuple[JsonValue, int] | None:
        """Return the value at ``at`` if all of it fits into a window, otherwise ``None``."""
        offset = at - self._base
        if offset >= len(self._window):
            offset = self._move_to(at)
        while True:
            try:
                value, end = _scan_once(self._window, offset)
            except (StopIteration, ValueError):
                value, end = None, len(self._window) + 1
            # A number such as 1.5e+3 may continue after the window, although "1" can be read.
            is_last = self._base + len(self._window) == len(self._text)
            if end <= len(self._window) - (0 if is_last else _NUMBER_BREAK_CHARACTERS):
                return value, self._base + end
            if offset == 0:
                return None
            offset = self._move_to(at)

    def _move_to(self, at: int) -> int:
        self._tick()
        self._base = at
        self._window = self._text[at : at + WINDOW_CHARACTERS]
        return 0

    def _list(self, at: int, depth: int) -> tuple[JsonValue, int]:
        items: list[JsonValue] = []
        at = self.after_space(at + 1)
        if self._text[at : at + 1] == "]":
            return items, at + 1
        next_batch = at
        while True:
            if at >= next_batch:
                batch, end = self._batch(at, "[", "]")
                if batch is not None:
                    items += cast("list[JsonValue]", batch)
                    at = next_batch = self.after_space(end)
                    continue
                next_batch = at + WINDOW_CHARACTERS
            item, at = self.value(at, depth + 1)
            items.append(item)
            at, ended = self._separator(at, "]")
            if ended:
                return items, at

    def _object(self, at: int, depth: int) -> tuple[JsonValue, int]:
        fields: dict[str, JsonValue] = {}
        at = self.after_space(at + 1)
        if self._text[at : at + 1] == "}":
            return fields, at + 1
        next_batch = at
        while True:
            if at >= next_batch:
                batch, end = self._batch(at, "{", "}")
                if batch is not None:
                    fields.update(cast("dict[str, JsonValue]", batch))
                    at = next_batch = self.after_space(end)
                    continue
                next_batch = at + WINDOW_CHARACTERS
            if self._text[at : at + 1] != '"':
                message = "Expecting property name enclosed in double quotes"
                raise JSONDecodeError(message, self._text, at)
            key, at = self._scan(at) or self._scalar(at)
            at = self.after_space(at)
            if self._text[at : at + 1] != ":":
                raise JSONDecodeError("Expecting ':' delimiter", self._text, at)
            fields[key], at = self.value(self.after_space(at + 1), depth + 1)
            at, ended = self._separator(at, "}")
            if ended:
                return fields, at

    def _separator(self, at: int, closing: str) -> tuple[int, bool]:
        """Return the position after a comma or a closing bracket, and whether it is a bracket."""
        at = self.after_space(at)
        found = self._text[at : at + 1]
        if found == closing:
            return at + 1, True
        if found != ",":
            raise JSONDecodeError("Expecting ',' delimiter", self._text, at)
        return self.after_space(at + 1), False

    def _batch(self, at: int, opening: str, closing: str) -> tuple[JsonValue, int]:
        """Return the complete elements of a window, or ``None``, and the position after them.

        The elements between two commas of one container are a container too. If a comma of an inner
        container or of a string is chosen, the part is invalid, because brackets or quotes do not
        match.
        """
        self._move_to(at)
        window = self._window
        for pattern in ("},", "],", '",', ","):
            cut = window.rfind(pattern) + len(pattern) - 1
            if cut < len(pattern):
                continue
            part = f"{opening}{window[:cut]}{closing}"
            try:
                value, end = _scan_once(part, 0)
            except (StopIteration, ValueError):
                continue
            if end == len(part):
                return value, at + cut + 1
        return None, at


def has_more_values(text: str, limit: int, tick: Callable[[], object]) -> bool:
    """Return whether a JSON text has more than ``limit`` values, without parsing it.

    The members of arrays and objects count, and so do these themselves. An empty one that contains
    white space counts twice. The text may be invalid. ``tick`` is called between two pieces of it,
    so that other threads run.
    """
    if _count(text) < limit:  # an upper bound, because strings may contain commas
        return False
    # Without escapes, every second part between quotation marks is outside of a string.
    plain = text.replace("\\\\", "").replace('\\"', "")
    found, is_outside = 1, True
    for start in range(0, len(plain), WINDOW_CHARACTERS):
        tick()
        parts = plain[start : start + WINDOW_CHARACTERS].split('"')
        found += sum(_count(part) for part in parts[0 if is_outside else 1 :: 2])
        if found > limit:
            return True
        if len(parts) % 2 == 0:
            is_outside = not is_outside
    return False


def _count(text: str) -> int:
    opened = text.count("[") + text.count("{")
    return text.count(",") + opened - text.count("[]") - text.count("{}")
