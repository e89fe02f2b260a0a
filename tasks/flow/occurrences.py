"""Occurrences: the instants of a schedule, from a cron expression in a time zone or an interval.

cronsim computes cron expressions as Debian's cron does at a change of daylight saving: a fixed time
that the clock skips runs when the clock continues, and a time that occurs twice runs once. An
expression with a wildcard in the minute or the hour follows the elapsed time.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CRON_CHARS = 1_000
"""Maximum length of a cron expression: each list of schedules contains it."""
CRON_FIELDS = 5
"""Number of fields of a cron expression: minute, hour, day of the month, month, day of the week."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLUTION = timedelta(microseconds=1)
_FIRST_WINDOW = timedelta(hours=3)
_WINDOW_GROWTH = 8


class Occurrences:
    """The instants of one schedule, in UTC. They do not depend on when they are computed."""

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Yield the instants after ``instant``, in ascending order."""
        raise NotImplementedError

    def next(self, instant: datetime) -> datetime | None:
        """Return the first instant after ``instant``; ``None`` if there is none."""
        return next(self.after(instant), None)

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the instants from ``since`` to ``until``, which is not included."""
        return takewhile(lambda instant: instant < until, self.after(since - _RESOLUTION))

    def latest(self, since: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the last ``most`` instants of ``between``; ``since`` may be years before."""
        window = _FIRST_WINDOW
        while True:
            start = max(since, until - window)
            found = deque(self.between(start, until), maxlen=most)
            if len(found) == most or start == since:
                return list(found)
            window = min(window * _WINDOW_GROWTH, until - since)


@dataclass(frozen=True, slots=True)
class CronOccurrences(Occurrences):
    """The instants of a cron expression."""

    expression: str
    zone: ZoneInfo

    def after(self, instant: datetime) -> Iterator[datetime]:
        """See ``Occurrences``."""
        for local in CronSim(self.expression, instant.astimezone(self.zone)):
            found = local.astimezone(UTC)
            # In the repeated hour, cronsim starts from the first of two equal local times.
            if found > instant:
                yield found


@dataclass(frozen=True, slots=True)
class IntervalOccurrences(Occurrences):
    """The multiples of an interval, counted from 1970-01-01T00:00:00Z."""

    seconds: int

    def after(self, instant: datetime) -> Iterator[datetime]:
        """See ``Occurrences``."""
        interval = timedelta(seconds=self.seconds)
        found = _EPOCH + ((instant - _EPOCH) // interval + 1) * interval
        while True:
            yield found
            found += interval

    def latest(self, since: datetime, until: datetime, most: int) -> list[datetime]:
        """See ``Occurrences``."""
        start = max(since, until - timedelta(seconds=self.seconds) * most)
        return list(self.between(start, until))


def cron_error(expression: str) -> str | None:
    """Return why a cron expression is invalid; ``None`` if it is valid."""
    if len(expression) > MAX_CRON_CHARS:
        return f"should have at most {MAX_CRON_CHARS:,} characters, not {len(expression):,}"
    fields = len(expression.split())
    if fields != CRON_FIELDS:
        return f"should have {CRON_FIELDS} fields, not {fields}"
    try:
        first = next(CronSim(expression, _EPOCH), None)
    except CronSimError as error:
        reason = str(error)
        return f"is not a valid cron expression: {reason[:1].lower()}{reason[1:]}"
    return None if first is not None else "should occur at least once in 50 years"


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database.

    Raises:
        ValueError: If it does not exist.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(
            f"should be a time zone such as Europe/Berlin or UTC, not '{name}'"
        ) from None
