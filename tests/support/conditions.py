"""Conditions: waits until a condition of a test is true."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_TIMEOUT_SECONDS = 40.0
"""Timeout for a condition of ``wait_until``, in seconds: enough if other processes use all cores,
and shorter than ``NEVER``, so that the next poll does not hide a missing signal."""

MIN_CHECK_INTERVAL_SECONDS = 0.01
MAX_CHECK_INTERVAL_SECONDS = 0.05
"""Interval between two checks of ``wait_until``, in seconds; it grows, because a check that is a
request takes as much CPU time as many tests have for everything else."""


def wait_until(
    predicate: Callable[[], T],
    seconds: float = WAIT_TIMEOUT_SECONDS,
    max_interval: float = MAX_CHECK_INTERVAL_SECONDS,
) -> T:
    """Return the first true result of ``predicate``; fail after ``seconds`` without one.

    ``max_interval`` is the longest pause between two checks, in seconds.
    """
    deadline = time.monotonic() + seconds
    interval = MIN_CHECK_INTERVAL_SECONDS
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {result!r} after {seconds} s")
        time.sleep(interval)
        interval = min(1.3 * interval, max_interval)
    return result
