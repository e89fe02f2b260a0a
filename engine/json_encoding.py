"""JSON encoding: measures, encodes and copies values in pieces, so that other threads can run.

One call of the C encoder or parser holds the interpreter lock until it returns: seconds for the
largest results. A piece takes a few milliseconds. ``tick`` is called between two pieces; it raises
an exception if the result is no longer needed.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from engine.json_pieces import load_json_in_pieces
from engine.json_values import MAX_DEPTH, JsonValue, dump_json

Tick = Callable[[], None]

PIECE_CHARACTERS = 65_536
"""Maximum size of the value that one call of the C encoder reads, in characters of JSON."""

MAX_PARTS_PER_CALL = 500_000
"""Maximum number of values that one call of the C parser may create."""

_BATCH = 4_096
_SCALARS = {int, float, bool, type(None)}
_MIN_CHARS = 2
"""Length of the shortest value and the comma after it, in characters."""


class TooLargeError(ValueError):
    """A value has more bytes of JSON than allowed."""


def size_within(value: object, max_size: int) -> int | None:
    """Return the approximate length of ``value`` as JSON; ``None`` if it exceeds ``max_size``.

    Reads at most ``max_size`` characters, so that a small limit costs little. A number counts as
    one digit, so the result may be too small, never too large.
    """
    left = max_size
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            left -= len(item) + 3
        elif isinstance(item, dict):
            fields = cast("dict[object, object]", item)
            left -= _MIN_CHARS + 5 * len(fields)
            if left < 0:
                return None
            left -= sum(len(key) for key in fields if isinstance(key, str))
            stack.extend(fields.values())
        elif isinstance(item, list | tuple):
            items = cast("list[object]", item)
            left -= _MIN_CHARS
            if _MIN_CHARS * len(items) > left:
                return None
            kinds = set(map(type, items))
            if kinds <= _SCALARS:
                left -= _MIN_CHARS * len(items)
            elif kinds == {str}:
                left -= sum(map(len, cast("list[str]", items))) + 3 * len(items)
            else:
                stack.extend(items)
        else:
            left -= _MIN_CHARS
        if left < 0:
            return None
    return max_size - left


def encode_within(
    value: JsonValue, max_bytes: int, tick: Tick = lambda: None, *, copies: bool = True
) -> tuple[str, JsonValue]:
    """Return ``value`` as JSON text, and a copy of it as JSON reads it back, if it is needed.

    ``max_bytes`` is the maximum size of the text in UTF-8. ``tick`` is called between two pieces.

    Raises:
        TooLargeError: If the text would be larger.
        ValueError: If JSON cannot represent the value; the message says why and where.
    """
    encoding = _Encoding(max_bytes, tick, copies)
    copy = encoding.put(value, 0)
    return "".join(encoding.pieces), copy


@dataclass(slots=True)
class _Encoding:
    """The text of one value while it is built."""

    left: int
    tick: Tick
    copies: bool
    pieces: list[str] = field(default_factory=list[str])

    def put(self, value: JsonValue, depth: int) -> JsonValue:
        if size_within(value, PIECE_CHARACTERS) is not None or isinstance(value, str):
            return self._piece(value, depth)
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return self._object(cast("dict[Any, JsonValue]", value), depth)
        return self._list(cast("list[JsonValue]", value), depth)

    def _list(self, items: Iterable[JsonValue], depth: int) -> JsonValue:
        copy: list[JsonValue] = []
        self._add("[")
        for number, batch in enumerate(_batches(items)):
            if number:
                self._add(",")
            if len(batch) == 1:
                copy.append(self.put(batch[0], depth + 1))
            else:
                copy.extend(self._piece(batch, depth, inside=True) or ())
        self._add("]")
        return copy if self.copies else None

    def _object(self, fields: dict[Any, JsonValue], depth: int) -> JsonValue:
        copy: dict[str, JsonValue] = {}
        self._add("{")
        for number, batch in enumerate(_batches(fields.items())):
            if number:
                self._add(",")
            if len(batch) == 1:
                ((key, inner),) = batch
                text = dump_json({key: None})[1:-5]
                self._add(text)
                copy[next(iter(json.loads(f"{{{text}0}}")))] = self.put(inner, depth + 1)
            else:
                copy.update(self._piece(dict(batch), depth, inside=True) or ())
        self._add("}")
        return copy if self.copies else None

    def _piece(self, value: JsonValue, depth: int, *, inside: bool = False) -> Any:
        """Add the text of a small value, or of what is inside its brackets; return its copy."""
        self.tick()
        text = dump_json(value, MAX_DEPTH - depth)
        self._add(text[1:-1] if inside else text)
        if not self.copies:
            return None
        copy = json.loads(text)
        # An equal string is not copied, so that a large one that many nodes pass on exists once.
        return value if type(value) is str and copy == value else copy

    def _add(self, text: str) -> None:
        self.left -= len(text) if text.isascii() else len(text.encode())
        if self.left < 0:
            raise TooLargeError
        self.pieces.append(text)


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield batches of adjacent small items, and each large item as a separate batch."""
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield from _halves(batch)


def _halves(batch: list[Any]) -> Iterator[list[Any]]:
    if len(batch) == 1 or size_within(batch, PIECE_CHARACTERS) is not None:
        yield batch
        return
    middle = len(batch) // 2
    yield from _halves(batch[:middle])
    yield from _halves(batch[middle:])


def read_stored(text: str) -> JsonValue:
    """Return the value of JSON text that this service stored."""
    parts = text.count(",") + text.count("[") + text.count("{")
    return (
        json.loads(text) if parts <= MAX_PARTS_PER_CALL else load_json_in_pieces(text, lambda: None)
    )
