"""Completion effects: what follows the end of an execution, in the transaction that ends it.

Its callback becomes due, the node that called it gets the result, and its children are cancelled.
"""

import json
from collections.abc import Collection, Sequence

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    Text,
    bindparam,
    exists,
    select,
    union,
    update,
)

from database.connection.commit_signal import Change, note_change, note_changed_run
from database.executions.callbacks import make_due
from database.executions.event_log import append_execution_events
from database.executions.node_runs import UNENDED, cancel_node_runs
from database.foreign_values import text_of
from database.payloads import full_text
from database.tables import CLAIMABLE_NOW, callbacks, children, executions, logs, runs
from engine.parking import Resumption
from engine.status import ExecutionStatus, NodeStatus, allowed_sources
from engine.subworkflow_calls import ChildResult

DELETED = "the execution was deleted"

_UNNOTIFIED_CHILDREN = select(
    children.c.executionId, children.c.parentId, children.c.nodeRunId
).where(
    children.c.executionId.in_(bindparam("ended", expanding=True)), children.c.notifiedAt.is_(None)
)
_UNENDED_CHILDREN = (
    select(children.c.executionId)
    .join(runs, runs.c.executionId == children.c.executionId)
    .where(children.c.parentId.in_(bindparam("parents", expanding=True)))
    .where(children.c.notifiedAt.is_(None), runs.c.endedAt.is_(None))
)
_ENDED = bindparam("ended", type_=Text, expanding=True)
_AFFECTED = select(
    exists().where(callbacks.c.executionId.in_(_ENDED)).label("callbacks"),
    exists()
    .where(children.c.executionId.in_(_ENDED), children.c.notifiedAt.is_(None))
    .label("parents"),
    exists()
    .where(children.c.parentId.in_(_ENDED), children.c.notifiedAt.is_(None))
    .label("children"),
)
_NOTIFY_NODE = (
    update(logs)
    .where(logs.c.id == bindparam("row"), logs.c.status == NodeStatus.WAITING)
    .where(logs.c.childExecutionId == bindparam("child"), logs.c.resumption.is_(None))
    .values(resumption=bindparam("resumption_json"))
)
_WAIT_FOR_PARKING = (
    select(runs.c.owner).where(runs.c.executionId == bindparam("parent")).with_for_update()
)
"""Locks a parent's row, so that a parent which is parking has committed and can be resumed."""
_MAKE_CLAIMABLE = (
    update(runs)
    .where(runs.c.executionId == bindparam("parent"))
    .where(runs.c.owner.is_(None), runs.c.endedAt.is_(None))
    .values(claimableAt=CLAIMABLE_NOW)
)


def _select_relatives() -> CompoundSelect[tuple[str]]:
    """Return the query for executions, their parents, and all executions that they called."""
    called = select(runs.c.executionId).where(runs.c.executionId.in_(_ENDED)).cte(recursive=True)
    called = called.union(
        select(children.c.executionId)
        .join(called, called.c.executionId == children.c.parentId)
        .join(runs, runs.c.executionId == children.c.executionId)
        .where(children.c.notifiedAt.is_(None), runs.c.endedAt.is_(None))
    )
    return union(
        select(called.c.executionId),
        select(children.c.parentId).where(children.c.executionId.in_(_ENDED)),
    )


_LOCK_RELATIVES = (
    select(runs.c.position)
    .where(runs.c.executionId.in_(_select_relatives()))
    .order_by(runs.c.position.desc())
    .with_for_update()
)


def lock_relatives(connection: Connection, execution_ids: Collection[str]) -> None:
    """Lock the rows of these executions, of their parents and of all executions that they called.

    Every transaction that ends an execution calls this first. All lock the youngest row first, so
    that no deadlock occurs. SQLite locks the whole file anyway.
    """
    note_change(connection, Change.SLOTS)
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK_RELATIVES, {"ended": list(execution_ids)})


def run_completion_effects(
    connection: Connection, execution_ids: Collection[str], now: str
) -> None:
    """Make callbacks due, notify parents and cancel children of executions that have just ended."""
    # Most executions have none of these, and one statement is cheaper than three.
    found = connection.execute(_AFFECTED, {"ended": list(execution_ids)}).one()
    if found.callbacks:
        make_due(connection, execution_ids, now)
    if found.parents:
        notify_parents(connection, execution_ids, now)
    if found.children:
        cancel_children(connection, execution_ids, now)


def notify_parents(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Store the results of these executions, or their deletion, for the nodes that called them."""
    unnotified = connection.execute(_UNNOTIFIED_CHILDREN, {"ended": list(execution_ids)}).all()
    if not unnotified:
        return
    rows = connection.execute(
        select(
            executions.c.id,
            executions.c.status,
            executions.c.error,
            full_text(executions.c.finalOutput, executions.c.id).label("finalOutput"),
            runs.c.workflowName,
        )
        .join(runs, runs.c.executionId == executions.c.id)
        .where(executions.c.id.in_([child.executionId for child in unnotified]))
    )
    ends = {
        row.id: ChildResult(
            row.id,
            row.workflowName,
            text_of(row.status) or ExecutionStatus.PENDING,
            text_of(row.error),
            text_of(row.finalOutput),
        )
        for row in rows
    }
    for child in unnotified:
        deleted = ChildResult(child.executionId, None, ExecutionStatus.FAILED, DELETED)
        notify_node(
            connection, child.nodeRunId, child.parentId, ends.get(child.executionId, deleted)
        )
    connection.execute(
        update(children)
        .where(children.c.executionId.in_([child.executionId for child in unnotified]))
        .values(notifiedAt=now)
    )


def notify_node(
    connection: Connection, node_run_id: str, parent_id: str | None, end: ChildResult
) -> None:
    """Resume a node with the result of its child, if it still waits for it."""
    resumption = json.dumps(Resumption(child=end).as_json(), ensure_ascii=False)
    notified = connection.execute(
        _NOTIFY_NODE, {"row": node_run_id, "child": end.execution_id, "resumption_json": resumption}
    )
    if notified.rowcount == 1 and parent_id is not None:
        parent = connection.execute(_WAIT_FOR_PARKING, {"parent": parent_id}).first()
        connection.execute(_MAKE_CLAIMABLE, {"parent": parent_id})
        note_changed_run(connection, parent)


def relatives_of_deleted(
    connection: Connection, execution_ids: Select[tuple[str]]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the executions that the deletion of these executions affects.

    Returns:
        The deleted executions whose parents wait for them, and children that must be cancelled.
    """
    unnotified = select(children.c.executionId).where(children.c.notifiedAt.is_(None))
    called = unnotified.where(children.c.executionId.in_(execution_ids))
    calling = unnotified.where(
        children.c.parentId.in_(execution_ids), children.c.executionId.not_in(execution_ids)
    )
    return connection.scalars(called).all(), connection.scalars(calling).all()


def cancel_children(connection: Connection, parent_ids: Collection[str], now: str) -> None:
    """Cancel the children of these executions that have not ended."""
    found = connection.execute(_UNENDED_CHILDREN, {"parents": list(parent_ids)}).all()
    if found:
        cancel(connection, [row.executionId for row in found], now)


def cancel(connection: Connection, execution_ids: Sequence[str], now: str) -> list[str]:
    """Cancel executions that have not ended: at once, or by a request to the owner.

    Their children are cancelled too; those of an owned execution when it ends.

    Returns:
        Ids of the executions whose owner must stop them.
    """
    lock_relatives(connection, execution_ids)
    rows = connection.execute(
        select(runs.c.executionId, runs.c.owner).where(
            runs.c.executionId.in_(execution_ids), runs.c.endedAt.is_(None)
        )
    ).all()
    unowned = [row.executionId for row in rows if row.owner is None]
    owned = [row.executionId for row in rows if row.owner is not None]
    if owned:
        request = update(runs).where(
            runs.c.executionId.in_(owned), runs.c.cancelRequestedAt.is_(None)
        )
        connection.execute(request.values(cancelRequestedAt=now))
        note_change(connection, Change.REQUESTS)
    if unowned:
        cancel_unowned(connection, unowned, now)
    return owned


def cancel_unowned(connection: Connection, execution_ids: Sequence[str], now: str) -> None:
    """End executions without an owner as ``cancelled``."""
    connection.execute(
        update(runs)
        .where(runs.c.executionId.in_(execution_ids))
        .values(cancelRequestedAt=now, endedAt=now, claimableAt=None)
    )
    cancel_node_runs(connection, execution_ids, now, UNENDED)
    before = allowed_sources(ExecutionStatus.CANCELLED)
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(execution_ids), executions.c.status.in_(before))
        .values(status=ExecutionStatus.CANCELLED, completedAt=now, currentNodeId=None)
    )
    run_completion_effects(connection, execution_ids, now)
    append_execution_events(connection, execution_ids, now)
