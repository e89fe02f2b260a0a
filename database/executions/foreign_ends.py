"""Foreign ends: executions whose status another program has set to one that ends them.

The status stays as that program stored it. Everything else becomes as after a cancellation: no node
runs or waits, the callback is due, the parent gets the result and the children are cancelled. If it
is ``failed``, the failure workflow starts.
"""

from collections.abc import Collection

from sqlalchemy import Connection, and_, case, func, or_, select, update

from database.connection.commit_signal import Change, note_change
from database.executions.completion import lock_relatives, run_completion_effects
from database.executions.event_log import append_execution_events
from database.executions.failures import record_failed
from database.executions.node_runs import UNENDED, cancel_node_runs
from database.tables import executions, runs
from engine.errors import LeaseLostError
from engine.status import TERMINAL, ExecutionStatus

SETTLE_BATCH_SIZE = 100
"""Maximum number of executions that one transaction settles."""

FAILED_ELSEWHERE = "Another program set the status to 'failed' and gave no reason"

UNENDED_STATUSES = tuple(status for status in ExecutionStatus if status not in TERMINAL)
HAS_NOT_ENDED = or_(executions.c.status.is_(None), executions.c.status.in_(UNENDED_STATUSES))
"""Condition for executions that have not ended. Any other status is an end, also an unknown one."""
HAS_ENDED = executions.c.status.not_in(UNENDED_STATUSES)


class EndedElsewhereError(LeaseLostError):
    """Another program has set the status of the execution to one that ends it."""


_FOREIGN_ENDS = (
    select(runs.c.executionId)
    .join(executions, executions.c.id == runs.c.executionId)
    .where(runs.c.endedAt.is_(None), runs.c.owner.is_(None), HAS_ENDED)
    .limit(SETTLE_BATCH_SIZE)
)


def has_foreign_ends(connection: Connection) -> bool:
    """Return whether another program has ended executions without an owner."""
    return connection.execute(_FOREIGN_ENDS.limit(1)).first() is not None


def settle_unowned(connection: Connection, now: str) -> int:
    """Settle ended executions without an owner; return their number."""
    found = connection.scalars(_FOREIGN_ENDS).all()
    lock_relatives(connection, found)
    # Read again under the lock, because a service may have claimed or ended some of them.
    remaining = connection.scalars(_FOREIGN_ENDS.where(runs.c.executionId.in_(found))).all()
    if remaining:
        settle(connection, remaining, now)
    return len(remaining)


def was_ended(connection: Connection, execution_id: str) -> bool:
    """Return whether the status of an execution is one that ends it."""
    query = select(executions.c.id).where(executions.c.id == execution_id, HAS_ENDED)
    return connection.execute(query).first() is not None


def settle(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Record the end of executions that another program has ended, with all effects."""
    ids = list(execution_ids)
    cancel_node_runs(connection, ids, now, UNENDED)
    has_no_reason = and_(
        executions.c.status == ExecutionStatus.FAILED, func.coalesce(executions.c.error, "") == ""
    )
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(ids))
        .values(
            currentNodeId=None,
            completedAt=func.coalesce(executions.c.completedAt, now),
            error=case((has_no_reason, FAILED_ELSEWHERE), else_=executions.c.error),
        )
    )
    connection.execute(
        update(runs)
        .where(runs.c.executionId.in_(ids))
        .values(owner=None, claimableAt=None, endedAt=now, endedElsewhere=1)
    )
    run_completion_effects(connection, ids, now)
    note_change(connection, Change.SLOTS)
    append_execution_events(connection, ids, now)
    record_failed(connection, ids, now)
