"""Journal records: node changes, results and the state of an execution in the journal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from database.executions.inputs import Child
from database.payloads import LargeValue
from database.records import MANUAL
from engine.document import Node
from engine.event_waits import AwaitedEvent
from engine.human_tasks import TaskRequest
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome, Progress
from engine.parking import Parked
from engine.status import ExecutionStatus, NodeStatus


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Duration of the earlier attempts of a node run, in milliseconds."""

    worked_ms: int = 0
    waited_ms: int = 0
    waiting_since: datetime | None = None
    """Time at which it was parked; ``None`` if it is not parked or the time is unknown."""


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """Start of a node run. ``attempt`` is above 1 if the node run started before a crash."""

    node: Node
    input_data: str
    attempt: int
    resumed: bool
    was_parked: bool = False
    """Whether this is the next attempt of a parked retry, whose start time does not change."""
    waited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """A failed attempt whose node run is parked until the next one."""

    attempt: int
    """Number of the next attempt."""
    failed_attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class NodeOutcomeRecorded:
    """Outcome of a node without a run of its own: skipped, or the aggregate of a loop's items.

    ``output_data`` is JSON.
    """

    node: Node
    status: NodeStatus = NodeStatus.SKIPPED
    output_data: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """End of a node run, or its parking (``waiting``). ``output_data`` and ``detail`` are JSON.

    ``duration`` and ``waited_ms`` count all attempts, in milliseconds; ``None`` keeps the stored
    value.
    """

    node_id: str
    status: NodeStatus
    duration: int | None
    output_data: str | None = None
    detail: str | None = None
    error: str | None = None
    wait_until: str | None = None
    child: Child | None = None
    """Execution that a parked node waits for."""
    abandoned_child: str | None = None
    """Id of the child execution that the node no longer waits for."""
    waited_ms: int | None = None
    waiting_since: str | None = None
    task: TaskRequest | None = None
    """Task that the people answer for whom a parked node waits."""
    event: AwaitedEvent | None = None
    """Event for which a parked node waits."""
    retry: RetryLater | None = None
    """Set if the node run is parked until its next attempt."""


@dataclass(frozen=True, slots=True)
class NodeChanges:
    """Node runs that one step changes. Their rows and events are numbered in this order.

    The changes of the earlier steps are written in the same transaction, before the others.
    """

    ended: Sequence[NodeEnded] = ()
    decided: Sequence[NodeOutcomeRecorded] = ()
    started: Sequence[NodeStarted] = ()
    earlier: Sequence["RecordedStep"] = ()
    """Deferred steps. The node runs that start in them are new, and none of them is parked."""

    def __len__(self) -> int:
        own = len(self.ended) + len(self.decided) + len(self.started)
        return own + sum(len(step.changes) for step in self.earlier)

    @property
    def characters(self) -> int:
        """Length of all inputs and outputs, except those of deferred steps."""
        outputs = (*self.ended, *self.decided)
        return sum(len(node.output_data or "") for node in outputs) + sum(
            len(start.input_data) for start in self.started
        )


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step of an execution: its changes, and the state of the execution after it."""

    at: str
    """Time of the step, as a timestamp."""
    changes: NodeChanges
    progress: Progress | None = None
    """``None`` keeps the stored progress."""
    current_node_id: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """Result of an execution. ``node_results`` and ``final_output`` are JSON."""

    status: ExecutionStatus
    progress: Progress | None = None
    error: str | None = None
    node_results: str | LargeValue | None = None
    final_output: str | None = None
    failed_node_id: str | None = None
    """The node because of which the execution failed."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """State of a claimed execution in the journal, from which a worker starts or resumes it."""

    execution_id: str
    document: str
    inputs: str | None
    seq: int
    cancel_requested: bool
    outcomes: dict[NodeRunKey, Outcome] = field(default_factory=dict[NodeRunKey, Outcome])
    """Outcomes of the decided nodes, in the order of the decisions."""
    parked: dict[NodeRunKey, Parked] = field(default_factory=dict[NodeRunKey, Parked])
    """Nodes that wait."""
    attempts: dict[NodeRunKey, int] = field(default_factory=dict[NodeRunKey, int])
    """Number of attempts of each node run that started and is not decided."""
    failed_attempts: dict[NodeRunKey, int] = field(default_factory=dict[NodeRunKey, int])
    """Number of those attempts that failed, which count for the retries."""
    times: dict[NodeRunKey, TimeSpent] = field(default_factory=dict[NodeRunKey, TimeSpent])
    """Duration of these node runs so far."""
    trigger_type: str = MANUAL
    parent_id: str | None = None
    """Id of the execution that called it."""
    stored_bytes: int = 0
    """Size of the data that the execution has stored, in bytes."""
    request: str | None = None
    """Request of the webhook delivery that started it, as JSON."""
