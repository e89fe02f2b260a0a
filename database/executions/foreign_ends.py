"""Foreign ends: executions whose status another program has set to one that ends them.

The status stays as that program wrote it. All else becomes what it would be after a cancellation:
nothing of the execution runs or waits, its callback is due, and its parent and its children know.
"""

from collections.abc import Collection

from sqlalchemy import Connection, and_, case, func, or_, select, update

from database.executions.completion import lock_relatives, run_completion_effects
from database.executions.event_log import append_execution_events
from database.executions.node_runs import UNENDED, cancel_node_runs
from database.tables import executions, runs
from engine.errors import LeaseLostError
from engine.status import TERMINAL, ExecutionStatus

SETTLE_BATCH_SIZE = 100
"""Executions that one transaction settles."""

FAILED_ELSEWHERE = "Another program set the status to 'failed' and gave no reason"

UNENDED_STATUSES = tuple(status for status in ExecutionStatus if status not in TERMINAL)
HAS_NOT_ENDED = or_(executions.c.status.is_(None), executions.c.status.in_(UNENDED_STATUSES))
"""Whether an execution has not ended. Any other status ends it, also one that is not known here."""
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
    """Return whether another program has ended executions that no service holds."""
    return connection.execute(_FOREIGN_ENDS.limit(1)).first() is not None


def settle_unowned(connection: Connection, now: str) -> int:
    """Settle executions that no service holds; return how many there were."""
    found = connection.scalars(_FOREIGN_ENDS).all()
    lock_relatives(connection, found)
    # Looked at again under the lock: a service may have claimed or ended some of them.
    still = connection.scalars(_FOREIGN_ENDS.where(runs.c.executionId.in_(found))).all()
    if still:
        settle(connection, still, now)
    return len(still)


def was_ended(connection: Connection, execution_id: str) -> bool:
    """Return whether the status of an execution is one that ends it."""
    query = select(executions.c.id).where(executions.c.id == execution_id, HAS_ENDED)
    return connection.execute(query).first() is not None


def settle(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Record the end of executions that another program has ended, and all that follows."""
    ids = list(execution_ids)
    cancel_node_runs(connection, ids, now, UNENDED)
    says_nothing = and_(
        executions.c.status == ExecutionStatus.FAILED, func.coalesce(executions.c.error, "") == ""
    )
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(ids))
        .values(
            currentNodeId=None,
            completedAt=func.coalesce(executions.c.completedAt, now),
            error=case((says_nothing, FAILED_ELSEWHERE), else_=executions.c.error),
        )
    )
    connection.execute(
        update(runs)
        .where(runs.c.executionId.in_(ids))
        .values(owner=None, claimableAt=None, endedAt=now, endedElsewhere=1)
    )
    run_completion_effects(connection, ids, now)
    append_execution_events(connection, ids, now)
