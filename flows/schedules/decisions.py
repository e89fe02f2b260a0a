"""Schedule decisions: computes which instants of a schedule start an execution now.

The functions are pure: they depend on the settings, the state of the schedule and the time. Two
services therefore make the same decision.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from database import to_text
from database.schedules.records import NextInstant, Schedule, SkipReason
from engine.json_values import encode_json
from tasks.flow.occurrences import Occurrences
from tasks.flow.schedule import Misfire, ScheduleConfig

MISFIRE_GRACE = timedelta(seconds=60)
"""Maximum delay with which an instant starts an execution without counting as missed."""
MAX_MISSED_INSTANTS = 100
"""Maximum number of instants that ``scheduleMisfire: all`` and ``scheduleOverlap: queue`` keep."""
MAX_CACHED_SETTINGS = 4_096
_MILLISECONDS = 1_000
_RESOLUTION = timedelta(microseconds=1)
_FIELDS = frozenset(name for name in ScheduleConfig.model_fields if name.startswith("schedule_"))


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """The settings of a schedule and its instants."""

    config: ScheduleConfig
    occurrences: Occurrences

    def next(self, schedule_id: str, after: datetime) -> NextInstant:
        """Return the first instant after a time."""
        return self.due(schedule_id, self.occurrences.next(after))

    def due(self, schedule_id: str, instant: datetime | None) -> NextInstant:
        """Return an instant with the time from which it is handled."""
        if instant is None:
            return NextInstant(None, None)
        due = instant + self.jitter(schedule_id, instant)
        return NextInstant(to_text(instant), to_text(due))

    def jitter(self, schedule_id: str, instant: datetime) -> timedelta:
        """Return the delay of an instant; it is the same in every service."""
        most = self.config.schedule_jitter_seconds * _MILLISECONDS
        digest = sha256(f"{schedule_id} {to_text(instant)}".encode()).digest()
        return timedelta(milliseconds=int.from_bytes(digest[:8]) % (most + 1))


@dataclass(frozen=True, slots=True)
class Decision:
    """The instants that start an execution, oldest first, and the next one after them."""

    instants: Sequence[datetime]
    next: NextInstant
    skipped: tuple[str, SkipReason] | None = None


def settings_text(config: ScheduleConfig) -> str:
    """Return the settings of a schedule as they are stored."""
    values = config.model_dump(mode="json", by_alias=True, include=set(_FIELDS), exclude_none=True)
    return encode_json(values)


@functools.lru_cache(MAX_CACHED_SETTINGS)
def settings_of(text: str) -> ScheduleSettings:
    """Return the settings that ``settings_text`` returned."""
    config = ScheduleConfig.model_validate(json.loads(text))
    return ScheduleSettings(config, config.occurrences())


def decide(schedule: Schedule, settings: ScheduleSettings, now: datetime) -> Decision:
    """Return the decision about a schedule that is due, or whose execution has ended."""
    assert schedule.next_at is not None
    since = datetime.fromisoformat(schedule.next_at)
    following = _first_not_due(schedule.id, settings, since, now)
    end = max(since, now) + _RESOLUTION if following is None else following
    due = settings.occurrences.latest(since, end, MAX_MISSED_INSTANTS)
    after = settings.due(schedule.id, following)
    if not due:
        return Decision((), after)
    is_late = now - since - settings.jitter(schedule.id, since) > MISFIRE_GRACE
    # The instants of a blocked schedule were not missed: they wait for its execution.
    kept = due
    if is_late and schedule.blocked_by is None:
        misfire, last = settings.config.schedule_misfire, due[-1]
        if misfire == Misfire.ONCE:
            kept = [last]
        elif misfire == Misfire.SKIP:
            is_on_time = now - last - settings.jitter(schedule.id, last) <= MISFIRE_GRACE
            kept = [last] if is_on_time else []
    if not kept:
        return Decision((), after, (to_text(due[-1]), "misfire"))
    dropped = settings.occurrences.latest(since, kept[0], 1)
    return Decision(kept, after, (to_text(dropped[-1]), "misfire") if dropped else None)


def _first_not_due(
    schedule_id: str, settings: ScheduleSettings, since: datetime, now: datetime
) -> datetime | None:
    """Return the first instant that is not due yet; the instants after it wait for it."""
    longest_jitter = timedelta(seconds=settings.config.schedule_jitter_seconds)
    for instant in settings.occurrences.after(max(since, now - longest_jitter) - _RESOLUTION):
        if instant + settings.jitter(schedule_id, instant) > now:
            return instant
    return None
