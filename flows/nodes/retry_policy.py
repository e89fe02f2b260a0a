"""Retry policy: computes the pause before the next attempt, and whether it parks the node run."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from prefect.utilities.math import clamped_poisson_interval

from engine.errors import NodeError

MIN_PARKED_PAUSE_SECONDS = 5.0
"""Longest pause that does not park the node run, in seconds. A parked node run needs no slot and no
thread, and continues after a restart, but it costs two transactions and a flow run."""

MAX_PAUSE_SECONDS = 31_536_000.0
"""Maximum pause before an attempt, in seconds: a year, so that every timestamp is valid."""


OnRetry: TypeAlias = Callable[[int, str], Awaitable[None]]
"""Called with the number of the failed attempt, from 1, and its error, before the next attempt."""


class RetryParkedError(Exception):
    """An attempt failed, and the next one starts after a long pause.

    The error ends the task run. ``failed_attempts`` is the number of attempts of this task run.
    """

    def __init__(self, failed_attempts: int, pause_seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.failed_attempts = failed_attempts
        self.pause_seconds = pause_seconds
        self.reason = reason


Delays = Sequence[float] | float | None
"""The declared delays of a task, in seconds."""


def delay_after(delays: Delays, attempt: int, jitter: float | None) -> float:
    """Return the declared delay after ``attempt``, in seconds; the last delay is repeated."""
    if isinstance(delays, Sequence):
        delay = delays[min(attempt, len(delays)) - 1] if delays else 0.0
    else:
        delay = delays or 0.0
    if jitter and delay > 0:
        return clamped_poisson_interval(delay, clamping_factor=jitter)
    return float(delay)


def remaining_delays(delays: Delays, failed: int) -> list[float]:
    """Return the delays after the first ``failed`` attempts, or the last delay."""
    if isinstance(delays, Sequence):
        return list(delays[failed:] or delays[-1:])
    return [] if delays is None else [delays]


def requested_pause(error: object, max_seconds: float) -> tuple[float, str]:
    """Return the pause that the server requested, and a remark if it exceeds the maximum."""
    requested = error.retry_after if isinstance(error, NodeError) else None
    if requested is None or math.isnan(requested) or requested <= 0:
        return 0.0, ""
    if requested <= max_seconds:
        return requested, ""
    remark = (
        f" (the server asks for a pause of {requested:.15g} s; the next attempt is made after "
        f"{max_seconds:g} s, MAX_RETRY_AFTER_SECONDS)"
    )
    return max_seconds, remark
