"""Query inputs and results: filters, cursors and the rows that the read side returns."""

from dataclasses import dataclass

from database.records import MANUAL, Payload
from engine.plan import Outcome, Progress
from engine.status import ExecutionStatus


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
