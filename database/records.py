"""The rows of the database as the rest of the service sees them."""

from dataclasses import dataclass, field
from datetime import datetime

from engine.parking import ParkedNode, ParkedRetry
from engine.plan import Outcome, Progress
from engine.status import ExecutionStatus

MANUAL = "manual"
"""The ``triggerType`` of an execution that a person or a program asked for."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A row of ``workflows``. ``data`` is JSON text as the editor saved it."""

    id: str
    name: str
    data: str
    organization_id: str | None


@dataclass(frozen=True, slots=True)
class SavedWorkflow:
    """A whole row of ``workflows``; ``data`` and ``tags`` are JSON text as somebody stored it."""

    id: str
    organization_id: str | None
    name: str
    data: str
    tags: str | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    """A workflow in a list: no document. ``tags`` is JSON text."""

    id: str
    organization_id: str | None
    name: str
    tags: str | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class WorkflowChange:
    """What an update makes of a workflow: the columns that it names, and no others."""

    name: str
    data: str
    tags: str | None = None
    keep_tags: bool = False
    """Whether ``tags`` stay as they are."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An execution that is accepted and shall be stored. ``inputs`` and ``document`` are JSON."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    document: str
    inputs: str | None
    total_nodes: int
    trigger_type: str = MANUAL
    unsaved: bool = False
    """Whether its document came with the request; see ``unsaved.UNSAVED``."""
    idempotency: "IdempotencyKey | None" = None
    callback_url: str | None = None
    rerun_of: str | None = None
    reused_nodes: tuple[str, ...] = ()
    """Node ids whose results the rerun takes from the execution it repeats."""
    progress: Progress | None = None
    """How far it is from the start, where results are taken over."""
    request: str | None = None
    """The request of a webhook delivery, as JSON text; a rerun takes over the one it repeats."""


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node calls: it is stored with the parking of that node."""

    submission: Submission
    depth: int
    """1 where the parent came from outside."""
    root_id: str
    """The execution from outside to which the chain of calls goes back."""


@dataclass(frozen=True, slots=True)
class CallingExecution:
    """What an execution is to those that it calls."""

    organization_id: str | None
    workflow_organization_id: str | None
    """The organization of its workflow; its own where that was deleted."""
    depth: int
    """0 for an execution that came from outside."""
    root_id: str
    """The execution from outside to which it goes back: itself if it came from there."""
    called_of_root: int
    """How many executions have been called so far that go back to that one."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key for one request; ``body_hash`` tells requests apart."""

    organization: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to one execution, until it is lost."""

    execution_id: str
    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClaimedExecution:
    """An execution just claimed."""

    lease: Lease
    workflow_name: str
    recoveries: int
    """How many owners died with it since a node of it last ended."""
    last_flow_run_id: str | None
    """The Prefect flow run of the owner before."""


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time that a node run has taken in earlier attempts, in milliseconds."""

    worked_ms: int = 0
    waited_ms: int = 0
    waiting_since: datetime | None = None
    """The moment at which it was parked; ``None`` if it is not, or if the moment is not known."""


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


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """How an execution ends. ``node_results`` and ``final_output`` are JSON text."""

    status: ExecutionStatus
    progress: Progress | None = None
    error: str | None = None
    node_results: str | None = None
    final_output: str | None = None


@dataclass(frozen=True, slots=True)
class CurrentNode:
    """The node started last that still runs, and what its handler reports of itself."""

    node_id: str
    node_type: str | None
    node_label: str | None
    started_at: str | None
    attempt: int
    percentage: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of ``workflow_executions`` with its progress; JSON columns as text."""

    id: str
    workflow_id: str
    organization_id: str | None
    status: str
    """One of ``ExecutionStatus``, or any text of another program."""
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    current_node_id: str | None
    current_node: CurrentNode | None
    error: str | None
    final_output: "Payload | None"
    progress: Progress
    seq: int
    flow_run_id: str | None
    rerun_of: str | None
    cancel_requested: bool
    parent_execution_id: str | None = None
    parent_node_id: str | None = None
    node_results: "Payload | None" = None


@dataclass(frozen=True, slots=True)
class FinishedExecution:
    """An execution that a rerun goes back to; ``document`` and ``inputs`` are JSON text."""

    execution_id: str
    status: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    document: str
    inputs: str | None
    outcomes: dict[str, Outcome]
    trigger_type: str = MANUAL


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """An execution in a list: no payloads."""

    id: str
    workflow_id: str
    workflow_name: str | None
    organization_id: str | None
    status: str
    trigger_type: str | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None
    rerun_of: str | None
    parent_execution_id: str | None


StoredValue = str | int | float | bytes
"""A value as the database stores and sorts it: text in rows of this service."""


@dataclass(frozen=True, slots=True)
class ExecutionCursor:
    """A place in the list of executions; the next page begins behind it."""

    created_at: StoredValue
    position: int
    id: StoredValue


@dataclass(frozen=True, slots=True)
class WorkflowCursor:
    """A place in the list of workflows; the next page begins behind it."""

    created_at: StoredValue
    id: StoredValue


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions a list shows; ``None`` and no status stand for all."""

    organization_id: str | None = None
    workflow_id: str | None = None
    statuses: frozenset[ExecutionStatus] = frozenset()
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON column: its text, or the beginning of it if asked for cut; ``size`` in characters."""

    text: str
    size: int
    cut: bool = False
    """Whether there is more than ``text``."""


@dataclass(frozen=True, slots=True)
class NodeLog:
    """A row of ``execution_logs``. ``duration`` in ms, ``timestamp`` the start.

    ``started_at``, ``ended_at`` and ``waited_ms`` are those of the node run with all its attempts;
    ``None`` in rows of older versions and of skipped nodes.
    Rows of other programs may have any status, and any number or text as ``duration``.
    """

    node_id: str | None
    node_type: str | None
    node_label: str | None
    status: str | None
    input_data: Payload | None
    output_data: Payload | None
    error: str | None
    last_error: str | None
    duration: int | float | str | None
    timestamp: str | None
    started_at: str | None
    ended_at: str | None
    waited_ms: int | None
    waiting_since: str | None
    attempt: int
    seq: int
    wait_until: str | None
    reused_from: str | None
    child_execution_id: str | None
    percentage: int | None
    """Of a node that runs: how far its handler says it is, 0 to 100."""
    message: str | None
    """Of a node that runs: what its handler says of itself; of one that waits: what it asks."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an execution, and how it stood after it.

    ``log`` is the node run that changed, ``None`` where the execution changed as a whole; ``error``
    and ``final_output`` are set at its end.
    """

    position: int
    """Its place among the events of all executions."""
    seq: int
    """Its place among the events of its execution: 1, 2, 3 …"""
    at: str
    execution_id: str
    workflow_id: str
    organization_id: str | None
    status: str
    current_node_id: str | None
    current_node: CurrentNode | None
    progress: Progress
    log: NodeLog | None
    error: str | None
    final_output: Payload | None


@dataclass(frozen=True, slots=True)
class ExecutionSnapshot:
    """How an execution stands: itself and its node runs, as of one moment."""

    execution: Execution
    logs: list[NodeLog]
    omitted_logs: int
    """Number of older node runs that are left out."""


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which executions somebody follows. Without anything: all of them."""

    execution_ids: frozenset[str] | None = None
    organization_id: str | None = None

    def matches(self, execution_id: str, organization_id: str | None) -> bool:
        """Whether an execution is among them."""
        if self.execution_ids is not None and execution_id not in self.execution_ids:
            return False
        return self.organization_id in (None, organization_id)
