"""Retry policy: declared delays, requested pauses, and the times and sizes of node runs."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from api.auth.api_keys import Role
from api.auth.callers import Caller
from api.streaming.expiry import has_expired
from database.executions.journal_records import JournalState, NodeEnded, TimeSpent
from engine.errors import NodeError
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from engine.status import NodeStatus
from flows.execution.node_times import NodeTimes
from flows.execution.stored_sizes import ROW_BYTES, StoredSizes, bytes_of
from flows.nodes.retry_policy import (
    Delays,
    RetryParkedError,
    delay_after,
    remaining_delays,
    requested_pause,
)
from tests.support.fake_clock import MovingClock


@pytest.mark.parametrize(
    ("delays", "attempt", "delay"),
    [
        ([1.0, 2.0, 3.0], 1, 1.0),
        ([1.0, 2.0, 3.0], 3, 3.0),
        ([1.0, 2.0, 3.0], 4, 3.0),
        ([], 1, 0.0),
        (2.5, 1, 2.5),
        (2.5, 9, 2.5),
        (None, 1, 0.0),
        (0, 1, 0.0),
    ],
)
def test_the_last_declared_delay_is_repeated(delays: Delays, attempt: int, delay: float):
    found = delay_after(delays, attempt, None)
    assert (found, type(found)) == (delay, float)
    assert delay_after(delays, attempt, 0.0) == delay


def test_jitter_changes_a_delay_within_its_bounds():
    found = {delay_after(10.0, 1, 0.5) for _ in range(50)}
    assert len(found) > 1
    assert all(0 < delay <= 15 for delay in found)
    assert delay_after(None, 1, 0.5) == 0


@pytest.mark.parametrize(
    ("delays", "failed", "remaining"),
    [
        ([1.0, 2.0, 3.0], 0, [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], 2, [3.0]),
        ([1.0, 2.0, 3.0], 3, [3.0]),
        ([], 1, []),
        (2.5, 3, [2.5]),
        (None, 0, []),
        (0.0, 0, [0.0]),
    ],
)
def test_the_delays_of_earlier_attempts_are_left_out(
    delays: Delays, failed: int, remaining: list[float]
):
    assert remaining_delays(delays, failed) == remaining


def _error(retry_after: float | None) -> NodeError:
    error = NodeError("x")
    error.retry_after = retry_after
    return error


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ValueError("x"), 0.0),
        (_error(None), 0.0),
        (_error(math.nan), 0.0),
        (_error(-1.0), 0.0),
        (_error(0.0), 0.0),
        (_error(0.5), 0.5),
        (_error(60.0), 60.0),
    ],
)
def test_a_requested_pause_up_to_the_maximum_is_made_without_a_remark(
    error: Exception, pause: float
):
    assert requested_pause(error, 60.0) == (pause, "")


def test_a_longer_pause_is_cut_with_a_remark():
    pause, remark = requested_pause(_error(60.5), 60.0)
    assert pause == 60.0
    assert "asks for a pause of 60.5 s; the next attempt is made after 60 s" in remark


# Sizes


@pytest.mark.parametrize(("text", "size"), [(None, 0), ("", 0), ("abc", 3), ("é", 2), ("aé", 3)])
def test_the_size_of_a_string_is_counted_in_utf_8(text: str | None, size: int):
    assert bytes_of(text) == size


def _sizes(limit: int, stored: int = 0, inputs: str | None = None) -> StoredSizes:
    state = JournalState("e", "{}", inputs, 0, cancel_requested=False, stored_bytes=stored)
    return StoredSizes(RunLimits(execution_bytes=limit), state)


def _ended(output: str, detail: str) -> NodeEnded:
    return NodeEnded("a", NodeStatus.COMPLETED, 1, output, detail)


def test_an_execution_stores_as_much_as_its_limit():
    sizes = _sizes(10)
    sizes.add_input("12345")
    sizes.add_input("12345")
    assert sizes.stored == 10
    with pytest.raises(NodeError, match="with the input of the node the execution would store"):
        sizes.add_input("1")
    assert sizes.stored == 10


def test_a_result_counts_twice_and_a_row_counts_its_own_size():
    sizes = _sizes(10)
    sizes.add_result(_ended("12", "345"))
    assert sizes.stored == 10
    with pytest.raises(NodeError, match="with the result of the node"):
        sizes.add_result(_ended("1", ""))
    sizes.count(_ended("1", "2"))
    assert sizes.stored == 14
    sizes.add_rows(2)
    assert (sizes.stored, ROW_BYTES) == (14 + 2 * 512, 512)


def test_a_count_begins_with_what_earlier_owners_stored_or_with_the_inputs():
    assert _sizes(10, stored=7, inputs="123").stored == 7
    assert _sizes(10, stored=0, inputs="123").stored == 3


# Times


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


KEY = NodeRunKey("a")


def test_a_wait_is_measured_by_the_clock_and_added_to_earlier_ones(clock: MovingClock):
    times = NodeTimes({KEY: TimeSpent(5, 1_000, None)}, clock)
    assert times.resume(KEY) is None
    times.park(KEY)
    clock.advance(2.5)
    assert times.resume(KEY) == 3_500
    assert times.resume(KEY) is None
    assert times.resume(NodeRunKey("b")) is None


def test_a_wait_that_an_earlier_owner_began_is_measured_from_its_start(clock: MovingClock):
    start = clock() - timedelta(seconds=10)
    assert NodeTimes({KEY: TimeSpent(0, 0, start)}, clock).resume(KEY) == 10_000
    future = clock() + timedelta(seconds=10)
    assert NodeTimes({KEY: TimeSpent(0, 7, future)}, clock).resume(KEY) == 7


def test_the_working_time_of_earlier_attempts_is_kept(clock: MovingClock):
    times = NodeTimes({KEY: TimeSpent(5_000_000, 0, None)}, clock)
    assert times.stop(KEY) == 5_000_000
    times.start(KEY)
    first = times.stop(KEY)
    assert 5_000_000 <= first < 6_000_000
    assert times.stop(KEY) == first
    assert NodeTimes({}, clock).stop(KEY) == 0


# Tokens


def test_a_stream_ends_at_the_time_at_which_its_token_expires():
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def expired(expires_at: datetime | None) -> bool:
        return has_expired(Caller("a", Role.READ, expires_at=expires_at), lambda: now)

    assert expired(now)
    assert expired(now - timedelta(microseconds=1))
    assert not expired(now + timedelta(microseconds=1))
    assert not expired(None)
    assert has_expired(None, lambda: now)


def test_the_error_of_a_parked_retry_has_the_reason_of_the_attempt():
    # Prefect stores the text of the error as the message of the task run's state.
    assert str(RetryParkedError(2, 60.0, "the other side is busy")) == "the other side is busy"
