"""Waiting nodes: decides from the stored row of a node run which change ends its wait."""

from sqlalchemy import ColumnElement, and_, case, exists, null

from database.executions.node_runs import is_own_row
from database.tables import logs
from database.waiting_tables import event_waits
from engine.loops import FOR_EACH
from engine.status import NodeStatus, WaitingFor

_WAIT_TYPE = "wait"
"""The type of nodes that wait for a time. Custom nodes with a time can be resumed before it."""
_HAS_NOT_BEGUN = logs.c.resultDetail.is_(None)
"""Condition for waiting nodes whose next attempt has not begun; a parked result has a detail."""
_AWAITS_EVENT = exists().where(
    event_waits.c.executionId == logs.c.executionId, event_waits.c.nodeId == logs.c.nodeId
)

WAITING_FOR: ColumnElement[str | None] = case(
    (
        and_(is_own_row(), logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_(None)),
        case(
            (logs.c.childExecutionId.is_not(None), WaitingFor.CHILD.value),
            (and_(_HAS_NOT_BEGUN, logs.c.waitUntil.is_not(None)), WaitingFor.RETRY.value),
            (_HAS_NOT_BEGUN, WaitingFor.PERMIT.value),
            (logs.c.nodeType == FOR_EACH, WaitingFor.ITEMS.value),
            (logs.c.nodeType == _WAIT_TYPE, WaitingFor.TIME.value),
            # Not from the result, because that may be encrypted.
            (_AWAITS_EVENT, WaitingFor.EVENT.value),
            else_=WaitingFor.RESUME.value,
        ),
    ),
    else_=null(),
)
"""Column of a row of ``execution_logs``: one of ``WaitingFor``; NULL if the node run does not wait,
was resumed already, or belongs to another program."""
