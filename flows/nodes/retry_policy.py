"""Retries: how long the pause before the next attempt is, and whether it parks the node run."""

import math
from collections.abc import Sequence

from prefect.utilities.math import clamped_poisson_interval

from engine.errors import NodeError

MIN_PARKED_PAUSE_SECONDS = 5.0
"""Pauses that are longer park the node run: it holds no slot and no thread, and survives a restart.
Shorter ones stay in the task run, because parking costs two transactions and a flow run."""

MAX_PAUSE_SECONDS = 31_536_000.0
"""Maximum pause before an attempt, in seconds: a year, so that every moment can be written down."""


class RetryParkedError(Exception):
    """An attempt failed, and the next one is made only after a long pause.

    It ends the task run. ``failed_attempts`` counts the attempts of this task run.
    """

    def __init__(self, failed_attempts: int, pause_seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.failed_attempts = failed_attempts
        self.pause_seconds = pause_seconds
        self.reason = reason


Delays = Sequence[float] | float | None
"""The delays that a task declares."""


def delay_after(delays: Delays, attempt: int, jitter: float | None) -> float:
    """Return the delay in seconds that a task declares between ``attempt`` and the next one.

    ``delays`` has one for each attempt, the last one repeated.
    """
    if isinstance(delays, Sequence):
        delay = delays[min(attempt, len(delays)) - 1] if delays else 0.0
    else:
        delay = delays or 0.0
    if jitter and delay > 0:
        return clamped_poisson_interval(delay, clamping_factor=jitter)
    return float(delay)


def remaining_delays(delays: Delays, failed: int) -> list[float]:
    """Return the delays that are left after ``failed`` attempts, and the last one at least."""
    if isinstance(delays, Sequence):
        return list(delays[failed:] or delays[-1:])
    return [] if delays is None else [delays]


def requested_pause(error: object, max_seconds: float) -> tuple[float, str]:
    """Return the pause that the other side asked for, and a remark if that was too long.

    Args:
        error: what the attempt raised.
        max_seconds: the maximum that is granted (``MAX_RETRY_AFTER_SECONDS``).
    """
    wanted = error.retry_after if isinstance(error, NodeError) else None
    if wanted is None or math.isnan(wanted) or wanted <= 0:
        return 0.0, ""
    if wanted <= max_seconds:
        return wanted, ""
    remark = (
        f" (the server asks for a pause of {wanted:.15g} s; the next attempt is made after "
        f"{max_seconds:g} s, MAX_RETRY_AFTER_SECONDS)"
    )
    return max_seconds, remark
