"""Recovery: requeues executions of crashed owners and runs suspected executions alone."""

from collections.abc import Mapping

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    and_,
    bindparam,
    exists,
    select,
    update,
)

from database.connection.commit_signal import Change, note_change
from database.executions.event_log import append_execution_events
from database.executions.node_runs import cancel_node_runs
from database.executions.permits import return_permits
from database.tables import CLAIMABLE_NOW, executions, runs
from engine.status import ExecutionStatus


def requeue_expired(
    connection: Connection, abandoned: ColumnElement[bool], times: Mapping[str, object]
) -> None:
    """Set expired executions to ``pending``, whether or not a worker has a free slot.

    ``recoveries`` grows by 1. Running nodes are logged as ``cancelled``; they run again with the
    execution. ``times`` has the parameters of the condition ``abandoned`` and ``now``.
    """
    requeue = update(runs).where(abandoned).returning(runs.c.executionId)
    values = {"owner": None, "claimableAt": CLAIMABLE_NOW, "recoveries": runs.c.recoveries + 1}
    ids = connection.scalars(requeue.values(values), times).all()
    now = str(times["now"])
    if not ids:
        return
    return_permits(connection, ids)
    cancel_node_runs(connection, ids, now)
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(ids), executions.c.status == ExecutionStatus.RUNNING)
        .values(status=ExecutionStatus.PENDING, currentNodeId=None)
    )
    note_change(connection, Change.QUEUE)
    append_execution_events(connection, ids, now)


_WAITING = and_(runs.c.owner.is_(None), runs.c.claimableAt <= bindparam("now", type_=Text))
_SUSPECT = runs.c.recoveries >= bindparam("suspect_after", type_=Integer)
_OWNED = runs.c.owner == bindparam("holder", type_=Text)
_SUSPECTS = select(
    exists(select(runs.c.position).where(_OWNED)).label("owned"),
    exists(select(runs.c.position).where(_OWNED, _SUSPECT)).label("owned_suspect"),
    exists(select(runs.c.position).where(_WAITING, _SUSPECT)).label("waiting_suspect"),
)


def isolate_suspects(
    connection: Connection,
    owner: str,
    times: Mapping[str, object],
    isolate_after: int,
    limit: int,
) -> tuple[ColumnElement[bool] | None, int]:
    """Return which waiting executions the owner may claim, and how many; ``None`` is all of them.

    When a process crashes, ``recoveries`` grows for every execution that it ran, so the cause is
    unknown. An execution with ``isolate_after`` recoveries is a suspect and runs alone: while a
    suspect waits, the service claims no other execution; when its other executions have ended, it
    claims the suspect and nothing else, until the suspect or a node of it ends. If the process
    crashes again, the suspect is the cause, and the other executions continue.
    """
    values = {**times, "suspect_after": isolate_after, "holder": owner}
    found = connection.execute(_SUSPECTS, values).one()
    if found.owned_suspect or (found.waiting_suspect and found.owned):
        return None, 0
    if found.waiting_suspect:
        return and_(_WAITING, runs.c.recoveries >= isolate_after), min(limit, 1)
    return None, limit
