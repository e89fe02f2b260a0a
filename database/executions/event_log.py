"""Noting what happened: one event a change, in the transaction of the change itself.

An event is read off the rows as the change left them, so that it cannot say anything else. Note
what changed of nodes before the execution's own status changes: their events show the status under
which they happened.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Integer, Text, and_, bindparam, select, text, update

from database.connection.commit_signal import HAS_EVENTS
from database.connection.engines import insert_or_ignore
from database.tables import events, executions, logs, runs

_ORDER_LOCK = 7_205_759_404  # any number but that of the migrations' lock

_FROM_EXECUTION = (
    executions.c.status,
    executions.c.currentNodeId,
    runs.c.completedNodes,
    runs.c.failedNodes,
    runs.c.skippedNodes,
)
_FROM_NODE = (
    logs.c.nodeId,
    logs.c.status.label("nodeStatus"),
    logs.c.attempt,
    logs.c.lastError,
    logs.c.nodePercentage,
    logs.c.nodeMessage,
)
_NODE_EVENTS = (
    select(
        runs.c.executionId,
        bindparam("change", type_=Integer).label("seq"),
        bindparam("now", type_=Text).label("at"),
        *_FROM_EXECUTION,
        *_FROM_NODE,
    )
    .join(executions, executions.c.id == runs.c.executionId)
    .join(logs, and_(logs.c.executionId == runs.c.executionId, logs.c.id == bindparam("row")))
    .where(runs.c.executionId == bindparam("execution"))
)


def append_node_events(
    connection: Connection, execution_id: str, changes: Sequence[tuple[int, str]], now: str
) -> None:
    """Notes that these rows of ``execution_logs`` changed: sequence number and id of each."""
    if not changes:
        return
    _lock_event_order(connection)
    columns = ["executionId", "seq", "at", *(c.name for c in (*_FROM_EXECUTION, *_FROM_NODE))]
    # A write whose commit was not confirmed is made again; its events are there then.
    note = insert_or_ignore(connection, events).from_select(columns, _NODE_EVENTS)
    connection.execute(
        note,
        [
            {"execution": execution_id, "change": seq, "row": row, "now": now}
            for seq, row in changes
        ],
    )


def append_execution_events(connection: Connection, execution_ids: Sequence[str], now: str) -> None:
    """Notes that these executions changed as a whole; each takes a sequence number for it."""
    if not execution_ids:
        return
    _lock_event_order(connection)
    connection.execute(
        update(runs).where(runs.c.executionId.in_(execution_ids)).values(seq=runs.c.seq + 1)
    )
    changed = (
        select(
            runs.c.executionId,
            runs.c.seq,
            bindparam("now", now, type_=Text).label("at"),
            *_FROM_EXECUTION,
        )
        .join(executions, executions.c.id == runs.c.executionId)
        .where(runs.c.executionId.in_(execution_ids))
        .order_by(runs.c.position)
    )
    columns = ["executionId", "seq", "at", *(column.name for column in _FROM_EXECUTION)]
    connection.execute(events.insert().from_select(columns, changed))


def _lock_event_order(connection: Connection) -> None:
    """Makes positions grow in the order of commits, so that nobody reads past one to come."""
    connection.info[HAS_EVENTS] = True
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ORDER_LOCK})
