"""Recovery: requeues executions of crashed owners and runs suspected executions alone."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select, update

from database.executions.event_log import append_execution_events
from database.executions.node_runs import cancel_node_runs
from database.tables import CLAIMABLE_NOW, executions, runs
from engine.status import ExecutionStatus


def requeue_expired(connection: Connection, abandoned: ColumnElement[bool], now: str) -> None:
    """Set expired executions to ``pending``, whether or not a worker has a free slot.

    ``recoveries`` grows by 1. Running nodes are logged as ``cancelled``; they run again with the
    execution.
    """
    ids: Sequence[str] = (
        connection.execute(
            update(runs)
            .where(abandoned)
            .values(
                owner=None,
                claimableAt=CLAIMABLE_NOW,
                recoveries=runs.c.recoveries + 1,
            )
            .returning(runs.c.executionId)
        )
        .scalars()
        .all()
    )
    if not ids:
        return
    cancel_node_runs(connection, ids, now)
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(ids), executions.c.status == ExecutionStatus.RUNNING)
        .values(status=ExecutionStatus.PENDING, currentNodeId=None)
    )
    append_execution_events(connection, ids, now)


def isolate_suspects(
    connection: Connection, owner: str, waiting: ColumnElement[bool], isolate_after: int
) -> tuple[ColumnElement[bool], int | None]:
    """Return which ``waiting`` executions the owner may claim, and how many; ``None`` is unlimited.

    When a process crashes, ``recoveries`` grows for every execution that it ran, so the cause is
    unknown. An execution with ``isolate_after`` recoveries is a suspect and runs alone: while a
    suspect waits, the service claims no other execution; when its other executions have ended, it
    claims the suspect and nothing else, until the suspect or a node of it ends. If the process
    crashes again, the suspect is the cause, and the other executions continue.
    """
    suspect = runs.c.recoveries >= isolate_after
    owned = runs.c.owner == owner
    suspect_waits = _any(connection, and_(waiting, suspect))
    if _any(connection, and_(owned, suspect)) or (suspect_waits and _any(connection, owned)):
        return waiting, 0
    return (and_(waiting, suspect), 1) if suspect_waits else (waiting, None)


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    found: Select[Any] = select(runs.c.position).where(condition).limit(1)
    return connection.execute(found).first() is not None
