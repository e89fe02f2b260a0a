"""Resumptions: the ends of the waits of nodes, by a ``resume`` request or because of their time.

The first one that is stored decides, because all others are stored only if there is none.
"""

import json
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Exists, select, update

from database.connection.commit_signal import note_changed_run
from database.encryption import DataEncryption
from database.executions.event_waits import end_event_wait
from database.executions.hidden_waits import hidden_rows, read_resumption, stored_resumption
from database.executions.human_tasks import answer_node, expire_tasks
from database.executions.node_runs import is_own_row, row_id
from database.executions.waiting_nodes import WAITING_FOR
from database.records import Lease
from database.tables import CLAIMABLE_NOW, executions, logs, runs
from engine.errors import (
    ConflictError,
    ExecutionNotFoundError,
    NotWaitingError,
    RetryTakesNoDataError,
    WaitingForChildError,
)
from engine.parking import Resumption
from engine.status import NodeStatus, WaitingFor

_ACCEPTS_DATA = (WaitingFor.TIME, WaitingFor.EVENT, WaitingFor.RESUME)
"""The waits that a resumption ends. The next attempt of a retry starts with one without data."""
_REFUSALS = {
    WaitingFor.PERMIT: "queued for a permit of a limit",
    WaitingFor.ITEMS: "running its items",
}
_EXPIRED = json.dumps(Resumption(expired=True).as_json())


def read_resumptions(
    connection: Connection, lease: Lease, encryption: DataEncryption
) -> dict[str, Resumption]:
    """Return the resumptions of an execution's waiting nodes, by node id."""
    query = select(logs.c.nodeId, logs.c.resumption).where(
        logs.c.executionId == lease.execution_id,
        logs.c.status == NodeStatus.WAITING,
        logs.c.resumption.is_not(None),
        is_own_row(),
    )
    rows = connection.execute(query).all()
    return {row.nodeId: read_resumption(row.resumption, encryption) for row in rows}


def expire_nodes(connection: Connection, lease: Lease, node_ids: Sequence[str], now: str) -> None:
    """Store that the time of nodes has passed, except of those that were resumed before.

    The caller has locked the execution by a guard.
    """
    waits = connection.scalars(
        update(logs)
        .where(logs.c.id.in_([row_id(lease, node_id) for node_id in node_ids]))
        .where(logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_(None))
        .values(resumption=_EXPIRED)
        .returning(logs.c.nodeId)
    ).all()
    expire_tasks(connection, lease.execution_id, waits, now)
    end_event_wait(connection, lease.execution_id, waits)


def is_resumed(lease: Lease) -> Exists:
    """Return the condition that a waiting node of an execution has a resumption."""
    return (
        select(logs.c.id)
        .where(logs.c.executionId == lease.execution_id)
        .where(logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_not(None), is_own_row())
        .exists()
    )


def resume_node(
    connection: Connection, execution_id: str, node_id: str, resumption: Resumption, now: str
) -> None:
    """Store a resumption, which also answers the task of the node; see ``Journal.resume``."""
    existing = select(executions.c.id).where(executions.c.id == execution_id)
    if connection.execute(existing).first() is None:
        raise ExecutionNotFoundError(execution_id)
    if "\0" in node_id:
        raise NotWaitingError(node_id, None)  # PostgreSQL rejects the parameter
    lock_execution(connection, execution_id)
    store_resumption(connection, execution_id, node_id, resumption)
    answer_node(connection, execution_id, node_id, resumption, now)
    end_event_wait(connection, execution_id, [node_id])


def lock_execution(connection: Connection, execution_id: str) -> None:
    """Lock an execution, so that its owner cannot park it meanwhile and miss the changes."""
    own_run = runs.c.executionId == execution_id
    connection.execute(select(runs.c.owner).where(own_run).with_for_update())


def store_resumption(
    connection: Connection, execution_id: str, node_id: str, resumption: Resumption
) -> None:
    """Store the resumption of a node of a locked execution, and make the execution claimable.

    Raises:
        NotWaitingError: If the node does not wait or is already resumed.
        WaitingForChildError: If the node waits for a child execution.
    """
    own_run = runs.c.executionId == execution_id
    run = connection.execute(select(runs.c.owner).where(own_run).with_for_update()).first()
    row = f"{execution_id}:{node_id}"
    is_node = logs.c.id == row
    has_no_data = resumption.approved and resumption.data is None
    accepted = (*_ACCEPTS_DATA, WaitingFor.RETRY) if has_no_data else _ACCEPTS_DATA
    hidden = bool(hidden_rows(connection, [row]))
    updated = connection.execute(
        update(logs)
        .where(is_node, WAITING_FOR.in_(accepted))
        .values(resumption=stored_resumption(connection, resumption, hidden=hidden))
    )
    if updated.rowcount != 1:
        raise _not_resumable_error(connection, is_node, node_id)
    connection.execute(
        update(runs).where(own_run, runs.c.owner.is_(None)).values(claimableAt=CLAIMABLE_NOW)
    )
    note_changed_run(connection, run)


def _not_resumable_error(
    connection: Connection, is_node: ColumnElement[bool], node_id: str
) -> ConflictError:
    query = select(logs.c.status, logs.c.childExecutionId, WAITING_FOR.label("waitingFor")).where(
        is_node
    )
    row = connection.execute(query).first()
    if row is None or row.status != NodeStatus.WAITING:
        return NotWaitingError(node_id, None if row is None else row.status)
    if row.childExecutionId is not None:
        return WaitingForChildError(node_id, row.childExecutionId)
    if row.waitingFor == WaitingFor.RETRY:
        return RetryTakesNoDataError(node_id)
    return NotWaitingError(node_id, _REFUSALS.get(row.waitingFor, "already resumed"))
