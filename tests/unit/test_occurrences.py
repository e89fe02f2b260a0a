"""Occurrences: cron expressions in time zones, at changes of daylight saving, and intervals."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from tasks.flow.occurrences import CronOccurrences, IntervalOccurrences, cron_error, zone_of
from tests.support.cron_oracle import FIXED, HOURLY, expected_instants

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2027, 3, 28, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)


def times(expression: str, since: datetime, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    found = islice(CronOccurrences(expression, zone).after(since), count)
    return [instant.strftime("%d %H:%M") for instant in found]


def test_a_fixed_time_that_the_clock_skips_runs_when_the_clock_continues() -> None:
    # At 01:00 UTC, the clocks change from 02:00 to 03:00.
    assert times("30 2 * * *", SPRING, 2) == ["28 01:00", "29 00:30"]


def test_a_fixed_time_that_occurs_twice_runs_once() -> None:
    # At 01:00 UTC, the clocks change from 03:00 back to 02:00.
    assert times("30 2 * * *", AUTUMN, 2) == ["25 00:30", "26 01:30"]


def test_an_hourly_time_follows_the_elapsed_time() -> None:
    since = AUTUMN - timedelta(minutes=1)
    assert times("0 * * * *", since, 4) == ["25 00:00", "25 01:00", "25 02:00", "25 03:00"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("expression", [*FIXED, *HOURLY])
def test_the_instants_equal_those_of_an_independent_computation(zone: str, expression: str) -> None:
    since, until = datetime(2026, 10, 20, tzinfo=UTC), datetime(2027, 4, 5, tzinfo=UTC)
    occurrences = CronOccurrences(expression, ZoneInfo(zone))
    assert list(occurrences.between(since, until)) == expected_instants(
        expression, ZoneInfo(zone), since, until
    )


@pytest.mark.parametrize("expression", [*FIXED, *HOURLY])
def test_the_instants_do_not_depend_on_the_time_of_the_computation(expression: str) -> None:
    occurrences = CronOccurrences(expression, BERLIN)
    for change in (SPRING, AUTUMN):
        since, until = change - timedelta(days=2), change + timedelta(days=2)
        every = list(occurrences.between(since, until))
        for _ in range(100):
            start = since + timedelta(seconds=random.randrange(3 * 86_400))
            assert list(occurrences.between(start, until)) == [i for i in every if i >= start]


@pytest.mark.parametrize(
    "occurrences",
    [
        CronOccurrences("*/7 * * * *", BERLIN),
        CronOccurrences("5 4 * * 1", BERLIN),
        IntervalOccurrences(7),
        IntervalOccurrences(86_400),
    ],
)
@pytest.mark.parametrize("most", [1, 100])
def test_the_latest_instants_are_the_end_of_all(occurrences, most: int) -> None:
    since = datetime(2026, 10, 1, 0, 0, 3, tzinfo=UTC)
    until = since + timedelta(days=2 if occurrences == IntervalOccurrences(7) else 40)
    every = list(occurrences.between(since, until))
    assert occurrences.latest(since, until, most) == every[-most:]
    assert occurrences.latest(until, until, most) == []


def test_the_latest_instants_of_ten_years_are_found_without_computing_all() -> None:
    until = datetime(2026, 10, 1, tzinfo=UTC)
    occurrences = IntervalOccurrences(1)
    found = occurrences.latest(until - timedelta(days=3_650), until, 3)
    assert found == [until - timedelta(seconds=n) for n in (3, 2, 1)]


def test_an_interval_counts_from_1970() -> None:
    found = IntervalOccurrences(3_600).next(datetime(2026, 1, 1, 10, 20, tzinfo=UTC))
    assert found == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_an_instant_is_not_after_itself() -> None:
    at = datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert IntervalOccurrences(3_600).next(at) == at + timedelta(hours=1)
    assert CronOccurrences("0 * * * *", BERLIN).next(at) == at + timedelta(hours=1)
    assert next(iter(CronOccurrences("0 * * * *", BERLIN).between(at, at + timedelta(1)))) == at


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * *", "should have 5 fields, not 4"),
        ("0 * * * * *", "should have 5 fields, not 6"),
        ("60 * * * *", "is not a valid cron expression: bad minute"),
        ("0 0 * * FOO", "is not a valid cron expression: bad day-of-week"),
        ("0 0 31 2 *", "is not a valid cron expression: bad day-of-month"),
        ("*/" + "1" * 5_000 + " * * * *", "should have at most 1,000 characters, not 5,010"),
    ],
)
def test_an_invalid_expression_has_a_reason(expression: str, reason: str) -> None:
    assert cron_error(expression) == reason


@pytest.mark.parametrize("expression", ["0 9 * * MON-FRI", "*/15 8-18 * * *", "0 0 L * *"])
def test_a_valid_expression_has_no_reason(expression: str) -> None:
    assert cron_error(expression) is None


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "America", "Europe/Berlin\0"])
def test_an_unknown_zone_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ValueError, match="should be a time zone such as Europe/Berlin"):
        zone_of(name)
