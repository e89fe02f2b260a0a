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


def may_become(status: ExecutionStatus) -> list[ExecutionStatus]:
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
