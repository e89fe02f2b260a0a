"""Clock: the current time as a parameter, so that tests can set it, and stored timestamps."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time, with a time zone."""


def utc_now() -> datetime:
    """Return the current time of the machine."""
    return datetime.now(UTC)


def to_text(timestamp: datetime) -> str:
    """Return ISO 8601 in UTC with milliseconds and ``Z``, so that strings sort by time."""
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
