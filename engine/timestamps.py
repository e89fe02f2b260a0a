"""Timestamps: ISO 8601 dates and times as points in time that can be compared."""

import re
from datetime import UTC, datetime

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d[ -~]*)?", re.ASCII)


def point_in_time(value: object) -> datetime | None:
    """Return the point in time of an ISO 8601 date or timestamp; ``None`` for anything else.

    A date is midnight at the start of the day. A timestamp without a zone is in UTC.
    """
    text = value.strip().upper() if isinstance(value, str) else ""
    try:
        found = datetime.fromisoformat(text) if _TIMESTAMP.fullmatch(text) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
