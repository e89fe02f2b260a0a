"""Outcomes: the results of node runs, and the steps and the progress that follow from them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.document import Node
from engine.json_values import JsonValue
from engine.node_run_key import NodeRunKey
from engine.status import NodeStatus

ERROR_DETAILS = ("statusCode",)
"""Fields of an error's data in addition to ``nodeId`` and ``message``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one node run."""

    status: NodeStatus
    """``completed``, ``error`` or ``skipped``."""
    result: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """The handler's result if ``completed``; the fields of the error's data, such as
    ``statusCode``, if ``error``."""
    error: str | None = None
    """The reason of the failure; set if and only if ``error``."""
    size: int = field(default=0, compare=False)
    """Size of ``outputData`` as JSON, in bytes; 0 if there is none or it was not measured."""

    @property
    def output(self) -> JsonValue:
        """The ``outputData`` of the result."""
        return self.result.get("outputData")


SKIPPED = Outcome(NodeStatus.SKIPPED)

Outcomes = Mapping[NodeRunKey, Outcome]
ScopeOutcomes = Mapping[str, Outcome]
"""The outcomes of one scope (see ``engine.scope_plan``) by node id."""


@dataclass(frozen=True, slots=True)
class ScopeStep:
    """The next step of one scope: the nodes that start and the nodes that are skipped."""

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """The next step of a run: the node runs that start and those that are skipped."""

    start: tuple[NodeRunKey, ...] = ()
    skip: tuple[NodeRunKey, ...] = ()
    decided: Mapping[NodeRunKey, Outcome] = field(default_factory=dict[NodeRunKey, Outcome])
    """Outcomes decided without running a handler: finished loops, and the aggregate outcome of
    each node in their bodies."""
    cancels_scopes: bool = False
    """Whether a loop or an item has failed, so that node runs that wait inside it are cancelled."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of the nodes of a run that it can reach, without comments."""

    total: int
    completed: int
    failed: int
    skipped: int
    stored_bytes: int | None = field(default=None, compare=False)
    """Size of the data that the execution has stored; ``None`` if it was not measured."""

    def percentage(self, *, finished: bool) -> int:
        """Return the progress in percent; 100 if and only if the execution is ``completed``."""
        if finished:
            return 100
        done = self.completed + self.failed + self.skipped
        return min(99, 100 * done // self.total) if self.total else 0


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


def describe_failure(node: Node, reason: str | None) -> str:
    """Return the ``error`` of an execution: the label and the id of the node, and the reason."""
    name = f"'{node.label}' ({node.id})" if node.label != node.id else f"'{node.id}'"
    return f"Node {name} failed: {reason}"
