"""Event log: appends one event for each change, in the transaction of the change.

The statements copy an event from the changed rows, so that both are always equal. Append the events
of nodes before the status of the execution changes, because each event contains that status.
"""

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Insert,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    func,
    select,
    update,
)

from database.connection.commit_signal import Change, changes_of, note_change
from database.connection.engines import insert_or_ignore
from database.executions.journal_records import RecordedStep
from database.records import Lease
from database.tables import events, executions, logs, runs
from engine.status import NodeStatus

_ORDER_LOCK = 7_205_759_404  # differs from the number of the migration lock

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
_STEP_EVENTS = (
    select(
        runs.c.executionId,
        bindparam("change", type_=Integer).label("seq"),
        bindparam("now", type_=Text).label("at"),
        executions.c.status,
        bindparam("current", type_=Text).label("currentNodeId"),
        func.coalesce(bindparam("completed", type_=Integer), runs.c.completedNodes),
        func.coalesce(bindparam("failed", type_=Integer), runs.c.failedNodes),
        func.coalesce(bindparam("skipped", type_=Integer), runs.c.skippedNodes),
        logs.c.nodeId,
        bindparam("node_status", type_=Text).label("nodeStatus"),
        func.coalesce(bindparam("tries", type_=Integer), logs.c.attempt),
        logs.c.lastError,
        logs.c.nodePercentage,
        logs.c.nodeMessage,
    )
    .join(executions, executions.c.id == runs.c.executionId)
    .join(logs, and_(logs.c.executionId == runs.c.executionId, logs.c.id == bindparam("row")))
    .where(runs.c.executionId == bindparam("execution"))
)
_NODE_COLUMNS = ("executionId", "seq", "at", *(c.name for c in (*_FROM_EXECUTION, *_FROM_NODE)))


_IDS = bindparam("ids", type_=Text, expanding=True)
_TAKE_NUMBERS = update(runs).where(runs.c.executionId.in_(_IDS)).values(seq=runs.c.seq + 1)
_EXECUTION_EVENTS = events.insert().from_select(
    ["executionId", "seq", "at", *(column.name for column in _FROM_EXECUTION)],
    select(
        runs.c.executionId,
        runs.c.seq,
        bindparam("now", type_=Text).label("at"),
        *_FROM_EXECUTION,
    )
    .join(executions, executions.c.id == runs.c.executionId)
    .where(runs.c.executionId.in_(_IDS))
    .order_by(runs.c.position),
)


def step_event(
    lease: Lease,
    seq: int,
    step: RecordedStep,
    row: str,
    status: NodeStatus,
    attempt: int | None,
) -> dict[str, object]:
    """Return the event of one change in a step, for ``append_step_events``.

    ``row`` is the id of the changed row. ``attempt`` is ``None`` if the row contains it.
    """
    progress = step.progress
    return {
        "execution": lease.execution_id,
        "change": seq,
        "now": step.at,
        "current": step.current_node_id,
        "completed": progress.completed if progress else None,
        "failed": progress.failed if progress else None,
        "skipped": progress.skipped if progress else None,
        "row": row,
        "node_status": status,
        "tries": attempt,
    }


def append_step_events(connection: Connection, steps: Sequence[dict[str, object]]) -> None:
    """Append the events of ``step_event``.

    They contain the state after their own step, because a row may contain the state after a later
    step of the same transaction.
    """
    if steps:
        _lock_event_order(connection)
        connection.execute(_insert_selected(connection.dialect.name, _STEP_EVENTS), steps)


@functools.cache
def _insert_selected(dialect: str, query: Select[Any]) -> Insert:
    # If a commit was not confirmed, the same write runs again and finds these events.
    return insert_or_ignore(dialect, events).from_select(_NODE_COLUMNS, query)


def append_node_events(
    connection: Connection, execution_id: str, changes: Sequence[tuple[int, str]], now: str
) -> None:
    """Append an event for each changed row of ``execution_logs``: sequence number and id."""
    if not changes:
        return
    _lock_event_order(connection)
    connection.execute(
        _insert_selected(connection.dialect.name, _NODE_EVENTS),
        [
            {"execution": execution_id, "change": seq, "row": row, "now": now}
            for seq, row in changes
        ],
    )


def append_execution_events(connection: Connection, execution_ids: Sequence[str], now: str) -> None:
    """Append an event for each changed execution; each execution takes a sequence number for it."""
    if execution_ids:
        connection.execute(_TAKE_NUMBERS, {"ids": list(execution_ids)})
        append_numbered_events(connection, execution_ids, now)


def append_numbered_events(connection: Connection, execution_ids: Sequence[str], now: str) -> None:
    """Append an event for each of these executions, whose ``seq`` is already that of the event."""
    _lock_event_order(connection)
    connection.execute(_EXECUTION_EVENTS, {"ids": list(execution_ids), "now": now})


def _lock_event_order(connection: Connection) -> None:
    """Make positions grow in the order of commits, so that readers never skip an event."""
    note_change(connection, Change.EVENTS)
    if connection.dialect.name == "postgresql":
        changes_of(connection).lock_order(connection, _ORDER_LOCK)
