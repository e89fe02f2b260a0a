"""Schedule decisions: due instants, missed ones, jitter and blocked schedules."""

from datetime import UTC, datetime, timedelta

import pytest

from database import to_text
from database.schedules.records import Schedule
from flows.schedules.decisions import (
    MAX_MISSED_INSTANTS,
    MISFIRE_GRACE,
    Decision,
    ScheduleSettings,
    decide,
    settings_of,
    settings_text,
)
from tasks.flow.schedule import ScheduleConfig

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def settings(**config: object) -> ScheduleSettings:
    values = {"scheduleEverySeconds": 60, **config}
    return settings_of(settings_text(ScheduleConfig.model_validate(values)))


def schedule(next_at: datetime = START, blocked_by: str | None = None) -> Schedule:
    nothing = dict.fromkeys(
        ("paused_at", "last_instant", "last_execution_id", "last_skipped_instant"), None
    )
    return Schedule(
        **nothing,
        id="s",
        workflow_id="w",
        workflow_name="W",
        organization_id=None,
        node_id="n",
        settings="{}",
        error=None,
        next_at=to_text(next_at),
        due_at=to_text(next_at),
        handled_at=to_text(START),
        blocked_by=blocked_by,
        last_skip_reason=None,
        created_at=to_text(START),
    )


def started(decision: Decision) -> list[timedelta]:
    return [instant - START for instant in decision.instants]


def test_a_due_instant_starts_and_the_next_one_follows() -> None:
    decision = decide(schedule(), settings(), START + timedelta(seconds=1))
    assert (started(decision), decision.skipped) == ([timedelta(0)], None)
    assert decision.next.next_at == decision.next.due_at == to_text(START + MINUTE)


def test_an_instant_in_the_future_does_not_start() -> None:
    decision = decide(schedule(), settings(), START - timedelta(milliseconds=1))
    assert (started(decision), decision.next.next_at) == ([], to_text(START))


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_instants_within_the_grace_period_all_start(misfire: str) -> None:
    config = settings(scheduleEverySeconds=20, scheduleMisfire=misfire)
    decision = decide(schedule(), config, START + MISFIRE_GRACE)
    assert len(decision.instants) == 4


@pytest.mark.parametrize(
    ("misfire", "late", "expected"),
    [
        ("skip", 10 * MINUTE + timedelta(seconds=30), [10]),
        ("once", 10 * MINUTE + timedelta(seconds=30), [10]),
        ("all", 10 * MINUTE + timedelta(seconds=30), list(range(11))),
    ],
)
def test_missed_instants_follow_the_setting(
    misfire: str, late: timedelta, expected: list[int]
) -> None:
    decision = decide(schedule(), settings(scheduleMisfire=misfire), START + late)
    assert started(decision) == [n * MINUTE for n in expected]
    assert decision.next.next_at == to_text(START + 11 * MINUTE)
    missed = None if misfire == "all" else (to_text(START + 9 * MINUTE), "misfire")
    assert decision.skipped == missed


@pytest.mark.parametrize(("misfire", "count"), [("skip", 0), ("once", 1), ("all", 3)])
def test_instants_that_are_all_missed_start_only_if_the_setting_says_so(
    misfire: str, count: int
) -> None:
    config = settings(scheduleEverySeconds=3_600, scheduleMisfire=misfire)
    decision = decide(schedule(), config, START + timedelta(hours=2, minutes=5))
    assert len(decision.instants) == count
    assert (decision.skipped is None) == (misfire == "all")


def test_a_downtime_of_a_year_starts_a_limited_number() -> None:
    config = settings(scheduleEverySeconds=1, scheduleMisfire="all")
    decision = decide(schedule(), config, START + timedelta(days=365))
    assert len(decision.instants) == MAX_MISSED_INSTANTS
    assert decision.instants[-1] == START + timedelta(days=365)
    last_dropped = decision.instants[0] - timedelta(seconds=1)
    assert decision.skipped == (to_text(last_dropped), "misfire")


def test_the_instants_of_a_blocked_schedule_are_not_missed() -> None:
    config = settings(scheduleMisfire="skip", scheduleOverlap="queue")
    decision = decide(schedule(blocked_by="e"), config, START + 10 * MINUTE)
    assert len(decision.instants) == 11


def test_jitter_delays_an_instant_by_the_same_time_in_every_service() -> None:
    config = settings(scheduleEverySeconds=3_600, scheduleJitterSeconds=600)
    instants = [START + timedelta(hours=n) for n in range(200)]
    delays = [config.jitter("s", instant) for instant in instants]
    assert delays == [config.jitter("s", instant) for instant in instants]
    assert timedelta(0) <= min(delays) < timedelta(seconds=60)
    assert timedelta(seconds=540) < max(delays) <= timedelta(seconds=600)
    assert config.jitter("s", START) != config.jitter("t", START)


def test_an_instant_with_jitter_starts_at_its_time_and_not_before() -> None:
    config = settings(scheduleEverySeconds=3_600, scheduleJitterSeconds=600)
    due = START + config.jitter("s", START)
    early = decide(schedule(), config, due - timedelta(milliseconds=1))
    assert (started(early), early.next.due_at) == ([], to_text(due))
    assert len(decide(schedule(), config, due).instants) == 1


def test_an_instant_waits_for_the_jitter_of_the_one_before() -> None:
    config = settings(scheduleEverySeconds=1, scheduleJitterSeconds=60, scheduleMisfire="all")
    found: list[datetime] = []
    current, now = schedule(), START
    for _ in range(200):
        decision = decide(current, config, now)
        found += decision.instants
        assert decision.next.next_at is not None
        current = schedule(datetime.fromisoformat(decision.next.next_at))
        now += timedelta(seconds=1)
    assert found == [START + timedelta(seconds=n) for n in range(len(found))]
    assert len(found) >= 200 - 60
