"""Loop progress: reports how many items of each running loop have ended."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.node_run_key import NodeRunKey
from flows.nodes.progress import PROGRESS_INTERVAL_SECONDS

ProgressOf = Callable[[NodeRunKey], tuple[int, int] | None]
"""Returns the numbers of ended and of all items of a loop, by its key; ``None`` if it ended."""


@dataclass(frozen=True, slots=True)
class LoopProgress:
    """Limits the reports of each loop to one per PROGRESS_INTERVAL_SECONDS."""

    progress_of: ProgressOf
    _reported: dict[NodeRunKey, tuple[int, float]] = field(
        default_factory=dict[NodeRunKey, tuple[int, float]]
    )

    def due(self, loops: Iterable[NodeRunKey]) -> list[tuple[NodeRunKey, int, str]]:
        """Return key, percentage and message of each loop with progress since its last report."""
        now = time.monotonic()
        found: list[tuple[NodeRunKey, int, str]] = []
        for key in loops:
            progress = self.progress_of(key)
            ended, last = self._reported.get(key, (0, 0.0))
            if progress is None or progress[0] == ended or now - last < PROGRESS_INTERVAL_SECONDS:
                continue
            ended, total = progress
            self._reported[key] = (ended, now)
            found.append((key, 100 * ended // total, f"{ended} of {total} items are done"))
        return found
