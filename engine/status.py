"""Statuses of executions and node runs, and their transitions."""

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """Values of ``workflow_executions.status``."""

    PENDING = "pending"
    """Accepted and stored; waits for a free slot."""
    RUNNING = "running"
    """Claimed by a worker that holds its lease."""
    WAITING = "waiting"
    """Parked on a long wait; holds no slot."""
    COMPLETED = "completed"
    """Every node that could run has ended, and nothing stopped the run."""
    FAILED = "failed"
    """A node failed and its ``onError`` is ``stop``, or the execution failed internally."""
    CANCELLED = "cancelled"
    """Stopped on request."""


TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    ExecutionStatus.PENDING: frozenset(
        {ExecutionStatus.RUNNING, ExecutionStatus.CANCELLED, ExecutionStatus.FAILED}
    ),
    ExecutionStatus.RUNNING: frozenset(
        {
            ExecutionStatus.PENDING,
            ExecutionStatus.WAITING,
            ExecutionStatus.COMPLETED,
            ExecutionStatus.FAILED,
            ExecutionStatus.CANCELLED,
        }
    ),
    ExecutionStatus.WAITING: frozenset(
        {ExecutionStatus.RUNNING, ExecutionStatus.CANCELLED, ExecutionStatus.FAILED}
    ),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset(),
    ExecutionStatus.CANCELLED: frozenset(),
}
"""Allowed transitions. ``running`` → ``pending`` returns an execution to the queue."""

TERMINAL: frozenset[ExecutionStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
"""The statuses that never change again."""


OPEN: frozenset[ExecutionStatus] = frozenset(ExecutionStatus) - TERMINAL
"""The statuses of executions that have not ended."""


def has_ended(status: str) -> bool:
    """Return whether an execution with this status has ended; an unknown status counts as ended.

    Other programs write statuses that this service does not use, for example ``paused``.
    """
    return status not in OPEN


class EventType(StrEnum):
    """Type of a message about an execution, in streams and callbacks."""

    PROGRESS = "execution_progress"
    """The execution has changed and has not ended."""
    COMPLETE = "execution_complete"
    """The last message of an execution: ``completed``."""
    CANCELLED = "execution_cancelled"
    """The last message of an execution: ``cancelled``."""
    ERROR = "execution_error"
    """The last message of an execution: ``failed``, or deleted."""


def end_event_type(status: str, error: str | None) -> EventType:
    """Return the type of the last message of an execution that ended with ``status``.

    A status of another program counts as a failure if the execution has an error.
    """
    if status == ExecutionStatus.CANCELLED:
        return EventType.CANCELLED
    if status == ExecutionStatus.FAILED or (status != ExecutionStatus.COMPLETED and error):
        return EventType.ERROR
    return EventType.COMPLETE


def allowed_sources(status: ExecutionStatus) -> list[ExecutionStatus]:
    """Return the statuses before ``status``, for the ``WHERE`` of a guarded update."""
    return [before for before, following in TRANSITIONS.items() if status in following]


class NodeStatus(StrEnum):
    """Values of ``execution_logs.status``."""

    RUNNING = "running"
    """Its handler has been started."""
    COMPLETED = "completed"
    """Its handler returned a result."""
    ERROR = "error"
    """Its handler raised, timed out or reported a failure, in the last attempt."""
    CANCELLED = "cancelled"
    """Stopped because the execution was cancelled."""
    SKIPPED = "skipped"
    """Every connection into it is dead, or it is an entry node that was not fired."""
    WAITING = "waiting"
    """Parked on a long wait."""


class WaitingFor(StrEnum):
    """The change that ends the wait of a node run whose status is ``waiting``."""

    TIME = "time"
    """The time of a ``wait`` node."""
    RETRY = "retry"
    """The time of its next attempt, because the last one failed."""
    PERMIT = "permit"
    """A permit of a limit of concurrent node runs."""
    CHILD = "child"
    """The end of the execution that it called."""
    ITEMS = "items"
    """The ends of the items of a loop."""
    EVENT = "event"
    """An event from outside."""
    RESUME = "resume"
    """An answer of people or a resumption by a program; it may have a time limit."""


DECIDED: frozenset[NodeStatus] = frozenset(
    {NodeStatus.COMPLETED, NodeStatus.ERROR, NodeStatus.SKIPPED}
)
"""The node statuses that settle the node's outgoing connections."""
