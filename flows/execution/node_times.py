"""Node times: measures how long node runs work and wait, over all their attempts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from database import Clock, to_text
from database.executions.journal_records import TimeSpent
from engine.node_run_key import NodeRunKey


@dataclass(slots=True)
class _Spent:
    worked_ms: int = 0
    waited_ms: int = 0
    waiting_since: datetime | None = None
    running_since: float | None = None


class NodeTimes:
    """Working and waiting times of the unfinished node runs, in milliseconds.

    An attempt is measured by the monotonic clock. A wait may last longer than the process, so it
    is the difference between two timestamps of ``clock``.
    """

    def __init__(self, spent: Mapping[NodeRunKey, TimeSpent], clock: Clock) -> None:
        self._clock = clock
        self._spent = {
            key: _Spent(earlier.worked_ms, earlier.waited_ms, earlier.waiting_since)
            for key, earlier in spent.items()
        }

    def start(self, key: NodeRunKey) -> None:
        """Start the measurement of an attempt."""
        self._spent.setdefault(key, _Spent()).running_since = time.monotonic()

    def stop(self, key: NodeRunKey) -> int:
        """End the measurement of an attempt; return the working time of all attempts."""
        spent = self._spent.setdefault(key, _Spent())
        if spent.running_since is not None:
            spent.worked_ms += round((time.monotonic() - spent.running_since) * 1000)
            spent.running_since = None
        return spent.worked_ms

    def park(self, key: NodeRunKey) -> str:
        """Start the measurement of a wait; return its start as a timestamp."""
        now = self._clock()
        self._spent.setdefault(key, _Spent()).waiting_since = now
        return to_text(now)

    def resume(self, key: NodeRunKey) -> int | None:
        """End the measurement of a wait.

        Returns:
            The time of all waits; ``None`` if the start of this one is unknown.
        """
        spent = self._spent.get(key)
        if spent is None or spent.waiting_since is None:
            return None
        waited = (self._clock() - spent.waiting_since).total_seconds()
        spent.waited_ms += max(0, round(waited * 1000))
        spent.waiting_since = None
        return spent.waited_ms
