"""Tally: the progress of a run, counted outcome by outcome."""

from collections import Counter
from collections.abc import Iterable

from engine.plan import Outcomes, Progress
from engine.status import NodeStatus


class Tally:
    """Counts the outcomes of the nodes that count for the progress.

    ``Plan.progress`` counts all outcomes each time, which is quadratic over a run of many nodes.
    """

    def __init__(self, counted: frozenset[str], outcomes: Outcomes) -> None:
        self._counted = counted
        self._found = Counter(it.status for key, it in outcomes.items() if key in counted)

    def add(self, ended: Iterable[tuple[str, NodeStatus]]) -> None:
        """Count nodes that were decided since; other statuses make no difference."""
        self._found.update(status for key, status in ended if key in self._counted)

    def progress(self, stored_bytes: int | None = None) -> Progress:
        """Return the progress so far."""
        found = self._found
        return Progress(
            len(self._counted),
            found[NodeStatus.COMPLETED],
            found[NodeStatus.ERROR],
            found[NodeStatus.SKIPPED],
            stored_bytes,
        )
