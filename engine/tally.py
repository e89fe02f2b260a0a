"""Tally: counts the progress of a run, outcome by outcome."""

from collections import Counter
from collections.abc import Iterable

from engine.outcome import Outcomes, Progress, ScopeOutcomes
from engine.status import NodeStatus


class Tally:
    """Counts the outcomes of the nodes that count for the progress.

    ``Plan.progress`` counts all outcomes on each call, which is quadratic over a run of many nodes.
    """

    def __init__(self, counted: frozenset[str], outcomes: Outcomes | ScopeOutcomes) -> None:
        self._counted = counted
        self._statuses = Counter(
            outcome.status for key, outcome in outcomes.items() if str(key) in counted
        )

    def add(self, ended: Iterable[tuple[str, NodeStatus]]) -> None:
        """Count node runs, by their string keys; other statuses have no effect."""
        self._statuses.update(status for key, status in ended if key in self._counted)

    def progress(self, stored_bytes: int | None = None) -> Progress:
        """Return the progress so far."""
        found = self._statuses
        return Progress(
            len(self._counted),
            found[NodeStatus.COMPLETED],
            found[NodeStatus.ERROR],
            found[NodeStatus.SKIPPED],
            stored_bytes,
        )
