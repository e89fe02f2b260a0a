"""Journal records: node changes, results and the state of an execution in the journal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from database.executions.inputs import Child
from database.records import MANUAL
from engine.document import Node
from engine.parking import ParkedNode, ParkedRetry
from engine.plan import Outcome, Progress
from engine.status import ExecutionStatus, NodeStatus


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time that a node run has taken in earlier attempts, in milliseconds."""

    worked_ms: int = 0
    waited_ms: int = 0
    waiting_since: datetime | None = None
    """The moment at which it was parked; ``None`` if it is not, or if the moment is not known."""


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node run begins. ``attempt`` is above 1 when it had begun before a crash."""

    node: Node
    input_data: str
    attempt: int
    resumed: bool
    was_parked: bool = False
    """Whether it is the next attempt of a parked retry, whose row keeps its start."""
    waited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """A failed attempt whose node run is parked until the next one."""

    attempt: int
    """The number of the next attempt."""
    failed_attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class NodeOutcomeRecorded:
    """A node is decided without a run: skipped, or, in the body of a loop, over all items.

    ``output_data`` is JSON text.
    """

    node: Node
    status: NodeStatus = NodeStatus.SKIPPED
    output_data: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """A node run ends, or is parked (``waiting``). ``output_data`` and ``detail`` are JSON text;
    ``duration`` and ``waited_ms`` in ms, over all attempts; ``None`` leaves what the row has.
    """

    node_id: str
    status: NodeStatus
    duration: int | None
    output_data: str | None = None
    detail: str | None = None
    error: str | None = None
    wait_until: str | None = None
    child: Child | None = None
    """What a node that is parked waits for."""
    abandoned_child: str | None = None
    """The child that a node waited for which now does so no longer."""
    waited_ms: int | None = None
    waiting_since: str | None = None
    retry: RetryLater | None = None
    """Set if the node run is parked until its next attempt."""


@dataclass(frozen=True, slots=True)
class NodeChanges:
    """Node runs that one transaction changes. Their rows and events are numbered in this order."""

    ended: Sequence[NodeEnded] = ()
    decided: Sequence[NodeOutcomeRecorded] = ()
    started: Sequence[NodeStarted] = ()

    @property
    def node_ids(self) -> list[str]:
        """Ids of the changed nodes, in the order of their sequence numbers."""
        ended = [node.node_id for node in self.ended]
        return ended + [change.node.id for change in (*self.decided, *self.started)]

    def __len__(self) -> int:
        return len(self.ended) + len(self.decided) + len(self.started)


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """How an execution ends. ``node_results`` and ``final_output`` are JSON text."""

    status: ExecutionStatus
    progress: Progress | None = None
    error: str | None = None
    node_results: str | None = None
    final_output: str | None = None


@dataclass(frozen=True, slots=True)
class JournalState:
    """All that the journal knows of a claimed execution; enough to begin it or to go on with it."""

    execution_id: str
    document: str
    inputs: str | None
    seq: int
    cancel_requested: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """The nodes that are decided, in the order in which they were."""
    parked: dict[str, ParkedNode | ParkedRetry] = field(
        default_factory=dict[str, ParkedNode | ParkedRetry]
    )
    """The nodes that wait."""
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    """Node runs that were begun and are not decided, with the attempts they have had."""
    failed_attempts: dict[str, int] = field(default_factory=dict[str, int])
    """How many of those attempts failed: they count for the retries."""
    times: dict[str, TimeSpent] = field(default_factory=dict[str, TimeSpent])
    """The time that these node runs have taken so far."""
    trigger_type: str = MANUAL
    parent_id: str | None = None
    """The execution that called it."""
    stored_bytes: int = 0
    """Size of the data that the execution has stored, as far as it was counted."""
    request: str | None = None
    """The request of the webhook delivery that started it, as JSON text."""
