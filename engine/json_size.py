"""JSON size: counts the values of a JSON text before it is parsed."""

from collections.abc import Callable

PIECE_CHARACTERS = 65_536
"""Number of characters that one step of ``count_values`` reads."""


def has_more_values(text: str, limit: int, tick: Callable[[], object]) -> bool:
    """Return whether a JSON text has more than ``limit`` values, without parsing it.

    The members of arrays and objects count, and so do these themselves. An empty one that contains
    white space counts twice.

    Args:
        text: The text, which may be invalid.
        limit: The limit.
        tick: Is called between two pieces of the text, so that other threads run.
    """
    if _count(text) < limit:  # an upper bound, because strings may contain commas
        return False
    # Without escapes, every second part between quotation marks is outside of a string.
    plain = text.replace("\\\\", "").replace('\\"', "")
    found, is_outside = 1, True
    for start in range(0, len(plain), PIECE_CHARACTERS):
        tick()
        parts = plain[start : start + PIECE_CHARACTERS].split('"')
        found += sum(_count(part) for part in parts[0 if is_outside else 1 :: 2])
        if found > limit:
            return True
        if len(parts) % 2 == 0:
            is_outside = not is_outside
    return False


def _count(text: str) -> int:
    opened = text.count("[") + text.count("{")
    return text.count(",") + opened - text.count("[]") - text.count("{}")
