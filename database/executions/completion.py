"""What the end of an execution sets off, in the transaction that ends it: its callback falls due,
the node that called it hears of it, and what it called itself is cancelled.
"""

import json
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Select, bindparam, select, update

from database.executions.callbacks import make_due
from database.executions.event_log import append_execution_events
from database.executions.node_runs import UNENDED, cancel_node_runs
from database.foreign_values import text_of
from database.tables import CLAIMABLE_NOW, children, executions, logs, runs
from engine.parking import Resumption
from engine.status import ExecutionStatus, NodeStatus, may_become
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
_NOTIFY_NODE = (
    update(logs)
    .where(logs.c.id == bindparam("row"), logs.c.status == NodeStatus.WAITING)
    .where(logs.c.childExecutionId == bindparam("child"), logs.c.resumption.is_(None))
    .values(resumption=bindparam("said"))
)
_WAIT_FOR_PARKING = (
    select(runs.c.owner).where(runs.c.executionId == bindparam("parent")).with_for_update()
)
"""Locks a parent's row: one that is about to park has done so then, and can be woken."""
_MAKE_CLAIMABLE = (
    update(runs)
    .where(runs.c.executionId == bindparam("parent"))
    .where(runs.c.owner.is_(None), runs.c.endedAt.is_(None))
    .values(claimableAt=CLAIMABLE_NOW)
)


def lock_relatives(connection: Connection, execution_ids: Collection[str]) -> None:
    """Locks the rows of these executions, of their parents and of all that they called.

    Whoever ends an execution calls it first. All take the rows from the youngest on, so that nobody
    waits for whoever waits for him. A SQLite file is locked as a whole.
    """
    if connection.dialect.name == "sqlite":
        return
    family = set(execution_ids)
    of_these = children.c.executionId.in_(execution_ids)
    parents = select(children.c.parentId).where(of_these, children.c.parentId.is_not(None))
    family.update(connection.scalars(parents))
    level = set(execution_ids)
    while level:
        rows = connection.execute(_UNENDED_CHILDREN, {"parents": list(level)})
        level = {row.executionId for row in rows} - family
        family |= level
    mine = runs.c.executionId.in_(family)
    order = select(runs.c.position).where(mine).order_by(runs.c.position.desc())
    connection.execute(order.with_for_update())


def run_completion_effects(
    connection: Connection, execution_ids: Collection[str], now: str
) -> None:
    """These executions have just ended, and their rows say how."""
    make_due(connection, execution_ids, now)
    notify_parents(connection, execution_ids, now)
    cancel_children(connection, execution_ids, now)


def notify_parents(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Tells the nodes that called these executions how they ended, or that they were deleted."""
    untold = connection.execute(_UNNOTIFIED_CHILDREN, {"ended": list(execution_ids)}).all()
    if not untold:
        return
    rows = connection.execute(
        select(
            executions.c.id,
            executions.c.status,
            executions.c.error,
            executions.c.finalOutput,
            runs.c.workflowName,
        )
        .join(runs, runs.c.executionId == executions.c.id)
        .where(executions.c.id.in_([child.executionId for child in untold]))
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
    for child in untold:
        gone = ChildResult(child.executionId, None, ExecutionStatus.FAILED, DELETED)
        notify_node(connection, child.nodeRunId, child.parentId, ends.get(child.executionId, gone))
    connection.execute(
        update(children)
        .where(children.c.executionId.in_([child.executionId for child in untold]))
        .values(notifiedAt=now)
    )


def notify_node(
    connection: Connection, node_run_id: str, parent_id: str | None, end: ChildResult
) -> None:
    """Has a node that waits for a child go on; one that waits no longer is left as it is."""
    said = json.dumps(Resumption(child=end).as_json(), ensure_ascii=False)
    told = connection.execute(
        _NOTIFY_NODE, {"row": node_run_id, "child": end.execution_id, "said": said}
    )
    if told.rowcount == 1 and parent_id is not None:
        connection.execute(_WAIT_FOR_PARKING, {"parent": parent_id})
        connection.execute(_MAKE_CLAIMABLE, {"parent": parent_id})


def relatives_of_deleted(
    connection: Connection, execution_ids: Select[tuple[str]]
) -> tuple[Sequence[str], Sequence[str]]:
    """What goes on around executions that are about to be deleted: those of them whose parents wait
    for them, to be told afterwards, and children of them, to be cancelled.
    """
    untold = select(children.c.executionId).where(children.c.notifiedAt.is_(None))
    called = untold.where(children.c.executionId.in_(execution_ids))
    calling = untold.where(
        children.c.parentId.in_(execution_ids), children.c.executionId.not_in(execution_ids)
    )
    return connection.scalars(called).all(), connection.scalars(calling).all()


def cancel_children(connection: Connection, parent_ids: Collection[str], now: str) -> None:
    """Cancels what nodes of these executions called and what has not ended."""
    found = connection.execute(_UNENDED_CHILDREN, {"parents": list(parent_ids)}).all()
    if found:
        cancel(connection, [row.executionId for row in found], now)


def cancel(connection: Connection, execution_ids: Sequence[str], now: str) -> list[str]:
    """Has executions that have not ended be cancelled: at once where nobody runs them.

    What they called is cancelled with them: that of one that runs when it ends.

    Returns:
        Those that somebody runs, and who is asked to stop them.
    """
    lock_relatives(connection, execution_ids)
    rows = connection.execute(
        select(runs.c.executionId, runs.c.owner).where(
            runs.c.executionId.in_(execution_ids), runs.c.endedAt.is_(None)
        )
    ).all()
    unheld = [row.executionId for row in rows if row.owner is None]
    held = [row.executionId for row in rows if row.owner is not None]
    if held:
        ask = update(runs).where(runs.c.executionId.in_(held), runs.c.cancelRequestedAt.is_(None))
        connection.execute(ask.values(cancelRequestedAt=now))
    if unheld:
        cancel_unowned(connection, unheld, now)
    return held


def cancel_unowned(connection: Connection, execution_ids: Sequence[str], now: str) -> None:
    """Ends executions that nobody runs as ``cancelled``."""
    connection.execute(
        update(runs)
        .where(runs.c.executionId.in_(execution_ids))
        .values(cancelRequestedAt=now, endedAt=now, claimableAt=None)
    )
    cancel_node_runs(connection, execution_ids, now, UNENDED)
    before = may_become(ExecutionStatus.CANCELLED)
    connection.execute(
        update(executions)
        .where(executions.c.id.in_(execution_ids), executions.c.status.in_(before))
        .values(status=ExecutionStatus.CANCELLED, completedAt=now, currentNodeId=None)
    )
    run_completion_effects(connection, execution_ids, now)
    append_execution_events(connection, execution_ids, now)
