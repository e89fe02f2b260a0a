"""Recovery: what dead owners left goes back into the queue, and who is suspected runs alone."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select, update

from database.executions.event_log import append_execution_events
from database.executions.node_runs import cancel_node_runs
from database.tables import CLAIMABLE_NOW, executions, runs
from engine.status import ExecutionStatus


def requeue_expired(connection: Connection, abandoned: ColumnElement[bool], now: str) -> None:
    """Makes ``pending`` again what is ``abandoned``, whether or not anybody has room for it.

    Each counts one owner more that died with it. Nodes that were in flight are logged
    ``cancelled``; they run again with the execution.
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
    """What of ``waiting`` the owner may claim now, and how much of it; ``None``: any number.

    When a process dies, all that it ran is charged with it, the innocent too. So whoever was there
    ``isolate_after`` times is a suspect, and runs with nothing beside it: the service claims
    nothing while one waits, until what it has is done; then the suspect alone, until it ends or a
    node of it does. If the process dies once more, there is no doubt; whatever is innocent gets on.
    """
    suspect = runs.c.recoveries >= isolate_after
    mine = runs.c.owner == owner
    suspects_wait = _any(connection, and_(waiting, suspect))
    if _any(connection, and_(mine, suspect)) or (suspects_wait and _any(connection, mine)):
        return waiting, 0
    return (and_(waiting, suspect), 1) if suspects_wait else (waiting, None)


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    found: Select[Any] = select(runs.c.position).where(condition).limit(1)
    return connection.execute(found).first() is not None
