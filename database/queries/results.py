"""Query inputs and results: filters, cursors and the rows that the read side returns."""

from dataclasses import dataclass
from datetime import datetime

from database.records import MANUAL, Payload
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome, Progress
from engine.status import ExecutionStatus, WaitingFor


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    """A workflow in a list, without its document. ``tags`` is JSON."""

    id: str
    organization_id: str | None
    name: str
    tags: str | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class CurrentNode:
    """The running node that started last, with the progress that its handler reported."""

    node_id: str
    node_type: str | None
    node_label: str | None
    started_at: str | None
    attempt: int
    percentage: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class FailureWorkflowStart:
    """The start of the failure workflow of a failed execution."""

    workflow_id: str
    execution_id: str | None
    error: str | None
    """Why the workflow was not started; ``None`` if it was."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of ``workflow_executions`` with its progress."""

    id: str
    workflow_id: str
    organization_id: str | None
    status: str
    """One of ``ExecutionStatus``, or any string that another program stored."""
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
    failure_of: str | None = None
    failure_workflow: FailureWorkflowStart | None = None


@dataclass(frozen=True, slots=True)
class ExecutionChange:
    """The last change of an execution; ``seq`` is its sequence number."""

    execution_id: str
    seq: int
    has_ended: bool


@dataclass(frozen=True, slots=True)
class FinishedExecution:
    """An execution that a rerun repeats; ``document`` and ``inputs`` are JSON."""

    execution_id: str
    status: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    document: str
    inputs: str | None
    outcomes: dict[NodeRunKey, Outcome]
    trigger_type: str = MANUAL


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """An execution in a list, without payloads."""

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
"""A sort key as the database stores it; a string in rows of this service."""


@dataclass(frozen=True, slots=True)
class ExecutionCursor:
    """Position in the list of executions after which the next page starts."""

    created_at: StoredValue
    position: int
    id: StoredValue


@dataclass(frozen=True, slots=True)
class WorkflowCursor:
    """Position in the list of workflows after which the next page starts."""

    created_at: StoredValue
    id: StoredValue


@dataclass(frozen=True, slots=True)
class ScheduleCursor:
    """Position in the list of schedules after which the next page starts."""

    workflow_id: str
    node_id: str


@dataclass(frozen=True, slots=True)
class TaskCursor:
    """Position in a list of tasks after which the next page starts."""

    created_at: str
    id: str


@dataclass(frozen=True, slots=True)
class KeptEventCursor:
    """Position in the list of kept events after which the next page starts."""

    position: int


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Executions in a list; ``None`` and an empty set match all."""

    organization_id: str | None = None
    workflow_id: str | None = None
    statuses: frozenset[ExecutionStatus] = frozenset()
    parent_id: str | None = None
    created_from: datetime | None = None
    """Only executions that were created at this time or later."""
    created_to: datetime | None = None
    """Only executions that were created before this time."""


@dataclass(frozen=True, slots=True)
class NodeLog:
    """A row of ``execution_logs``. ``duration`` is in milliseconds; ``timestamp`` is the start.

    ``started_at``, ``ended_at`` and ``waited_ms`` cover all attempts of the node run. They are
    ``None`` in rows of older versions and of skipped nodes. Rows of other programs may have any
    status, and any number or string as ``duration``.
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
    waiting_for: WaitingFor | None
    """``None`` if the node run does not wait or was resumed already."""
    reused_from: str | None
    child_execution_id: str | None
    percentage: int | None
    """Progress that the handler of a running node reported, 0 to 100."""
    message: str | None
    """Message that the handler of a running node reported, or the question of a waiting node."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an execution, with the state of the execution after it.

    ``log`` is the changed node run, or ``None`` if the execution itself changed. ``error`` and
    ``final_output`` are set when the execution ends.
    """

    position: int
    """Position among the events of all executions."""
    seq: int
    """Position among the events of its execution, from 1."""
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
    """An execution and its node runs in one consistent snapshot."""

    execution: Execution
    logs: list[NodeLog]
    omitted_logs: int
    """Number of older node runs that are left out."""


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Executions that a client subscribes to. Without values it matches all of them."""

    execution_ids: frozenset[str] | None = None
    organization_id: str | None = None

    def matches(self, execution_id: str, organization_id: str | None) -> bool:
        """Return whether an execution matches."""
        if self.execution_ids is not None and execution_id not in self.execution_ids:
            return False
        return self.organization_id in (None, organization_id)
