"""Start queue: holds ready node runs until their execution may start more of them."""

from collections import deque
from collections.abc import Iterable

from engine.loop_states import LoopStates
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcomes

MAX_STARTS_PER_STEP = 20
"""Maximum number of node runs that one step of an execution starts."""

START_LIMIT_GROWTH_INTERVAL_SECONDS = 0.1
"""Interval without an ended node after which more nodes of an execution start."""


class StartQueue:
    """Limits how many node runs start at a time, so that other executions make progress.

    More than MAX_STARTS_PER_STEP node runs are in flight only if none of them ended for
    START_LIMIT_GROWTH_INTERVAL_SECONDS, because then they probably wait for I/O. Nodes that compute
    would only delay each other and other executions.
    """

    def __init__(self, states: LoopStates, outcomes: Outcomes, max_in_flight: int) -> None:
        self._states = states
        self._outcomes = outcomes
        self._max_in_flight = max_in_flight
        self._keys: deque[NodeRunKey] = deque()
        self.last_ended = 0
        """Number of node runs that ended before the current step."""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, keys: Iterable[NodeRunKey]) -> None:
        """Add node runs that are ready."""
        self._keys.extend(keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add_first(self, keys: Iterable[NodeRunKey]) -> None:
        """Add node runs that start before the others, unless they are in the queue."""
        self._keys.extendleft(key for key in keys if key not in self._keys)

    def clear(self) -> None:
        """Remove all node runs."""
        self._keys.clear()

    def take(self, in_flight: int) -> list[NodeRunKey]:
        """Return the node runs that start now."""
        free = min(self._max_in_flight - in_flight, MAX_STARTS_PER_STEP)
        if in_flight >= MAX_STARTS_PER_STEP and self.last_ended:
            free = min(free, self.last_ended)
        start: list[NodeRunKey] = []
        while self._keys and len(start) < free:
            key = self._keys.popleft()
            # A loop may fail while its items are in the queue.
            if not self._states.is_cancelled_scope(key, self._outcomes):
                start.append(key)
        return start

    def seconds_until_growth(self) -> float | None:
        """Return the seconds after which more may start; ``None`` if the queue is empty."""
        return START_LIMIT_GROWTH_INTERVAL_SECONDS if self._keys else None
