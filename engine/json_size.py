"""JSON size: counts the values of a JSON text."""

from collections.abc import Iterator, Mapping
from typing import cast

from engine.values import JsonValue


def most_values(text: str) -> int:
    """Return an upper bound for the number of values in a JSON text, in a few milliseconds."""
    return text.count(",") + text.count("[") + text.count("{") + 1


def holds_more_values(value: JsonValue, limit: int) -> bool:
    """Return whether a parsed value consists of more than ``limit`` values."""
    found = 1
    stack: list[Iterator[JsonValue]] = [iter([value])]
    while stack:
        inner = next(stack[-1], stack)
        if inner is stack:
            stack.pop()
            continue
        items: list[JsonValue] = []
        if isinstance(inner, Mapping):
            items = [*cast("Mapping[str, JsonValue]", inner).values()]
        elif isinstance(inner, list):
            items = cast("list[JsonValue]", inner)
        found += len(items)
        if found > limit:
            return True
        if items:
            stack.append(iter(items))
    return False
