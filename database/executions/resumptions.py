"""What nodes that wait are told: by people, or by the end of what they called."""

import json

from sqlalchemy import ColumnElement, Connection, Exists, and_, or_, select, update

from database.executions.node_runs import is_own_row
from database.records import Lease
from database.tables import CLAIMABLE_NOW, executions, logs, runs
from engine.errors import (
    ConflictError,
    ExecutionNotFoundError,
    NotWaitingError,
    RetryTakesNoDataError,
    WaitingForChildError,
)
from engine.loops import FOR_EACH
from engine.parking import Resumption
from engine.status import NodeStatus

_IS_RETRY = and_(logs.c.resultDetail.is_(None), logs.c.waitUntil.is_not(None))
"""Of a node that waits: whether it does so for its next attempt."""


def read_resumptions(connection: Connection, lease: Lease) -> dict[str, Resumption]:
    """What the nodes of an execution that wait were told, by node id."""
    query = select(logs.c.nodeId, logs.c.resumption).where(
        logs.c.executionId == lease.execution_id,
        logs.c.status == NodeStatus.WAITING,
        logs.c.resumption.is_not(None),
        is_own_row(),
    )
    rows = connection.execute(query).all()
    return {row.nodeId: Resumption.from_json(json.loads(row.resumption)) for row in rows}


def is_resumed(lease: Lease) -> Exists:
    """Whether a node of an execution was told to go on and has not done so."""
    return (
        select(logs.c.id)
        .where(logs.c.executionId == lease.execution_id)
        .where(logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_not(None), is_own_row())
        .exists()
    )


def resume_node(
    connection: Connection, execution_id: str, node_id: str, resumption: Resumption
) -> None:
    """See ``Journal.resume``."""
    there = select(executions.c.id).where(executions.c.id == execution_id)
    if connection.execute(there).first() is None:
        raise ExecutionNotFoundError(execution_id)
    if "\0" in node_id:
        raise NotWaitingError(node_id, None)  # PostgreSQL would not even be asked for it
    # Locked, so that its owner does not park it between the two changes, hearing of neither.
    own = runs.c.executionId == execution_id
    connection.execute(select(runs.c.owner).where(own).with_for_update())
    mine = logs.c.id == f"{execution_id}:{node_id}"
    takes_an_answer = and_(logs.c.nodeType != FOR_EACH, logs.c.resultDetail.is_not(None))
    says_nothing = resumption.approved and resumption.data is None
    told = connection.execute(
        update(logs)
        .where(mine, logs.c.status == NodeStatus.WAITING)
        .where(logs.c.resumption.is_(None), logs.c.childExecutionId.is_(None))
        .where(or_(takes_an_answer, _IS_RETRY) if says_nothing else takes_an_answer)
        .values(resumption=json.dumps(resumption.as_json()))
    )
    if told.rowcount != 1:
        raise _not_resumable_error(connection, mine, node_id)
    connection.execute(
        update(runs).where(own, runs.c.owner.is_(None)).values(claimableAt=CLAIMABLE_NOW)
    )


def _not_resumable_error(
    connection: Connection, mine: ColumnElement[bool], node_id: str
) -> ConflictError:
    query = select(
        logs.c.status,
        logs.c.nodeType,
        logs.c.childExecutionId,
        logs.c.resumption,
        _IS_RETRY.label("isRetry"),
    ).where(mine)
    row = connection.execute(query).first()
    if row is None or row.status != NodeStatus.WAITING:
        return NotWaitingError(node_id, None if row is None else row.status)
    if row.childExecutionId is not None:
        return WaitingForChildError(node_id, row.childExecutionId)
    if row.isRetry and row.resumption is None:
        return RetryTakesNoDataError(node_id)
    loops = row.nodeType == FOR_EACH and not row.isRetry
    goes = "going through its items" if loops else "about to go on"
    return NotWaitingError(node_id, goes)
