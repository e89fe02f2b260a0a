"""Pause between two searches for executions that other programs ended."""

import pytest

from flows.worker.poller import MAX_SETTLE_PAUSE_SECONDS, MAX_SETTLE_SHARE, settlement_pause


@pytest.mark.parametrize(
    ("duration", "pause"),
    [
        (0.0, 0.9),
        (0.001, 0.9),
        (0.1, 0.1 / MAX_SETTLE_SHARE),
        (60.0, MAX_SETTLE_PAUSE_SECONDS),
    ],
)
def test_a_search_takes_a_small_share_of_the_time_up_to_a_maximum_pause(
    duration: float, pause: float
) -> None:
    assert settlement_pause(duration, poll_seconds=1.0) == pytest.approx(pause)


def test_a_long_poll_interval_is_kept() -> None:
    assert settlement_pause(60.0, poll_seconds=30.0) == pytest.approx(27.0)
