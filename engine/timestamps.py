"""Timestamps: ISO 8601 dates and times as points in time that can be compared."""

import re
from datetime import date

_TIMESTAMP = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,30}))?)?"
    r"(?: ?(?:(?P<utc>[Zz])|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?))?)?",
    re.ASCII,
)
_DAY_SECONDS = 86_400

PointInTime = tuple[int, str]
"""Seconds, and the digits of the fraction of a second. Points in time compare in their order."""


def point_in_time(value: object) -> PointInTime | None:
    """Return the point in time of an ISO 8601 date or timestamp; ``None`` for anything else.

    A date is midnight at the start of the day. A timestamp without a zone is in UTC. Every digit of
    the fraction counts, so that timestamps of any precision compare.
    """
    found = _TIMESTAMP.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        day = date.fromisoformat(found["date"]).toordinal()
    except ValueError:
        return None
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    ahead_hours, ahead_minutes = int(found["hours"] or 0), int(found["minutes"] or 0)
    fraction = (found["fraction"] or "").rstrip("0")
    is_end_of_day = hour == 24 and not (minute or second or fraction)  # noqa: PLR2004
    if (hour > 23 and not is_end_of_day) or minute > 59 or second > 60:  # noqa: PLR2004
        return None
    if ahead_hours > 23 or ahead_minutes > 59:  # noqa: PLR2004
        return None
    ahead = (ahead_hours * 60 + ahead_minutes) * 60
    seconds = day * _DAY_SECONDS + (hour * 60 + minute) * 60 + second
    return seconds - (-ahead if found["sign"] == "-" else ahead), fraction
