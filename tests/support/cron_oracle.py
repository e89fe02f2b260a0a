"""Cron oracle: the instants of simple expressions, computed without a cron library."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

FIXED = ("30 2 * * *", "0 3 * * *", "15 1 * * *", "59 23 * * *", "0 0 * * *")
"""Expressions with a fixed time of every day."""
HOURLY = ("0 * * * *", "17 * * * *")
"""Expressions with a minute of every hour."""


def expected_instants(
    expression: str, zone: ZoneInfo, since: datetime, until: datetime
) -> list[datetime]:
    """Return the instants from ``since`` to ``until`` of an expression of these lists."""
    minute, hour, *_ = expression.split()
    if hour == "*":
        first = since.replace(minute=0, second=0, microsecond=0)
        minutes = (first + timedelta(minutes=n) for n in range(_minutes(first, until) + 1))
        found = [at for at in minutes if at.astimezone(zone).minute == int(minute)]
    else:
        days = range((until - since).days + 3)
        dates = [since.astimezone(zone).date() + timedelta(days=n - 1) for n in days]
        at = time(int(hour), int(minute))
        found = [_first_valid(datetime.combine(date, at, zone)) for date in dates]
    return [instant for instant in found if since <= instant < until]


def _minutes(since: datetime, until: datetime) -> int:
    return int((until - since).total_seconds() // 60)


def _first_valid(local: datetime) -> datetime:
    """Return a local time in UTC; a skipped one becomes the first minute that exists after it."""
    while local.astimezone(UTC).astimezone(local.tzinfo).replace(fold=0) != local:
        local += timedelta(minutes=1)
    return local.astimezone(UTC)
