"""Releases: return claimed executions to the queue."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, Text, bindparam, case, func, update

from database.clock import to_text
from database.connection.commit_signal import Change, note_change
from database.executions.event_log import append_execution_events
from database.executions.foreign_ends import settle, was_ended
from database.executions.node_runs import cancel_node_runs
from database.records import Lease
from database.tables import CLAIMABLE_NOW, executions, runs
from engine.errors import LeaseLostError
from engine.status import ExecutionStatus, allowed_sources

_DUE = bindparam("due", type_=Text)
_REASON = bindparam("reason", type_=Text)
_IS_CANCELLED = runs.c.cancelRequestedAt.is_not(None) & _REASON.is_(None)
_RELEASE = (
    update(runs)
    .where(runs.c.executionId == bindparam("execution"), runs.c.owner == bindparam("holder"))
    .values(
        owner=None,
        claimableAt=case((_IS_CANCELLED, CLAIMABLE_NOW), else_=_DUE),
        endError=func.coalesce(runs.c.endError, _REASON),  # the first reason is kept
    )
)


def release_execution(
    connection: Connection,
    lease: Lease,
    moment: datetime,
    delay_seconds: float,
    end_error: str | None,
) -> None:
    """Return a claimed execution to the queue; see ``Queue.release``."""
    now = to_text(moment)
    cancel_node_runs(connection, [lease.execution_id], now)
    due = to_text(moment + timedelta(seconds=delay_seconds)) if delay_seconds else CLAIMABLE_NOW
    values = {"execution": lease.execution_id, "holder": lease.owner}
    released = connection.execute(_RELEASE, {**values, "due": due, "reason": end_error})
    updated = connection.execute(
        update(executions)
        .where(executions.c.id == lease.execution_id)
        .where(executions.c.status.in_(allowed_sources(ExecutionStatus.PENDING)))
        .values(status=ExecutionStatus.PENDING, currentNodeId=None)
    )
    if released.rowcount == 1 and was_ended(connection, lease.execution_id):
        settle(connection, [lease.execution_id], now)
        return
    if released.rowcount != 1 or updated.rowcount != 1:
        raise LeaseLostError(lease.execution_id)
    note_change(connection, Change.QUEUE)
    append_execution_events(connection, [lease.execution_id], now)
