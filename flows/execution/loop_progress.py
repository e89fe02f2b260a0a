"""What loops tell of themselves while they go on: how many of their items have ended."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.node_run_key import NodeRunKey
from flows.nodes.progress import PROGRESS_INTERVAL_SECONDS

HowFar = Callable[[NodeRunKey], tuple[int, int] | None]
"""Of a loop, by its key: the items that have ended, and all of them; ``None`` where it is over."""


@dataclass(frozen=True, slots=True)
class LoopProgress:
    """Which reports are due: each loop's at most once a second, as with other nodes."""

    how_far: HowFar
    _told: dict[NodeRunKey, tuple[int, float]] = field(
        default_factory=dict[NodeRunKey, tuple[int, float]]
    )

    def due(self, loops: Iterable[NodeRunKey]) -> list[tuple[NodeRunKey, int, str]]:
        """Key, percentage and message of each loop that has got on since it was last told of."""
        now = time.monotonic()
        found: list[tuple[NodeRunKey, int, str]] = []
        for key in loops:
            far = self.how_far(key)
            ended, last = self._told.get(key, (0, 0.0))
            if far is None or far[0] == ended or now - last < PROGRESS_INTERVAL_SECONDS:
                continue
            self._told[key] = (far[0], now)
            found.append((key, 100 * far[0] // far[1], f"{far[0]} of {far[1]} items are done"))
        return found
