"""Timestamps: points in time of any precision and zone."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.timestamps import point_in_time

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the zone is drawn
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=zones,
)


@given(left=moments, right=moments)
def test_they_compare_as_the_moments_that_they_are(left: datetime, right: datetime):
    points = point_in_time(left.isoformat()), point_in_time(right.isoformat())
    assert points[0] is not None
    assert points[1] is not None
    assert (points[0] < points[1]) == (left < right)
    assert (points[0] == points[1]) == (left == right)


@pytest.mark.parametrize(
    "same",
    [
        ["2026-03-01", "2026-03-01T00:00", "2026-03-01 00:00:00Z"],
        ["2026-03-01T00:30:00Z", "2026-03-01t02:30:00,000+02:00", "2026-02-28T19:00-0530"],
        ["2026-03-01T00:30:00.5", "2026-03-01T00:30:00.500000000Z", " 2026-03-01T01:30:00.50+01 "],
        ["0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00.0+23:59"],
    ],
)
def test_the_same_moment_is_written_in_many_ways(same: list[str]):
    assert len({point_in_time(text) for text in same}) == 1
    assert point_in_time(same[0]) is not None


@pytest.mark.parametrize(
    "value",
    [
        *("", "today", "2026", "2026-13-01", "2026-02-30", "2026-03-01T25:00", "2026-03-01T24:01"),
        *("2026-03-01T10:60", "2026-03-01T10:00+24:00", "2026-03-01T10", "01.03.2026", "20260301"),
        *("\u0662026-03-01", "2026-03-01x", None, 20260301, 1.5, True, []),
    ],
)
def test_anything_else_is_not_one(value: object):
    assert point_in_time(value) is None
