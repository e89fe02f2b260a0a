"""The statuses of executions and node runs, and which may follow which."""

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """What ``workflow_executions.status`` may say."""

    PENDING = "pending"
    """Accepted and stored; waits for a free slot."""
    RUNNING = "running"
    """Claimed by a service that holds its lease."""
    WAITING = "waiting"
    """Parked on a long wait; holds no slot."""
    COMPLETED = "completed"
    """Every node that could run has ended, and nothing stopped the run."""
    FAILED = "failed"
    """A node failed and its ``onError`` is ``stop``, or the execution could not be carried out."""
    CANCELLED = "cancelled"
    """Stopped on request; nothing of it runs any more."""


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
"""Which status may follow which. ``running`` → ``pending`` is the way back into the queue."""

TERMINAL: frozenset[ExecutionStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
"""The statuses that never change again."""


OPEN: frozenset[ExecutionStatus] = frozenset(ExecutionStatus) - TERMINAL
"""The statuses of executions that have not ended."""


def has_ended(status: str) -> bool:
    """Return whether an execution with this status has ended; an unknown status counts as ended.

    Other programs write statuses that this service does not know, such as ``paused``.
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
    """The statuses from which ``status`` may be entered, for the ``WHERE`` of a guarded write."""
    return [before for before, following in TRANSITIONS.items() if status in following]


class NodeStatus(StrEnum):
    """What ``execution_logs.status`` may say of a node run."""

    RUNNING = "running"
    """Its handler has been started."""
    COMPLETED = "completed"
    """Its handler returned a result."""
    ERROR = "error"
    """Its handler raised, timed out or reported a failure, and no attempt is left."""
    CANCELLED = "cancelled"
    """Stopped in the middle because the execution was cancelled."""
    SKIPPED = "skipped"
    """Every connection into it is dead, or it is an entry node that was not fired."""
    WAITING = "waiting"
    """Parked on a long wait."""


DECIDED: frozenset[NodeStatus] = frozenset(
    {NodeStatus.COMPLETED, NodeStatus.ERROR, NodeStatus.SKIPPED}
)
"""The node statuses that settle the node's outgoing connections."""
