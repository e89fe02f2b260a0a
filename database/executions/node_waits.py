"""Node waits: what parked nodes wait for, which is stored and ended together with their rows."""

from collections.abc import Sequence

from sqlalchemy import Connection

from database.executions.child_executions import start_children
from database.executions.event_waits import end_event_waits, start_event_waits
from database.executions.human_tasks import end_tasks, start_tasks
from database.executions.journal_records import NodeEnded
from database.executions.node_runs import row_id
from database.executions.permits import withdraw_requests
from database.records import Lease
from engine.status import NodeStatus


def change_waits(
    connection: Connection,
    lease: Lease,
    ended: Sequence[NodeEnded],
    organization: str | None,
    now: str,
) -> None:
    """Start the waits of nodes that are now parked, and end those of nodes that have ended.

    ``organization`` is the result of ``lock_awaited_events``.
    """
    start_children(connection, lease, ended, now)
    start_tasks(connection, lease, ended, now)
    start_event_waits(connection, lease, ended, organization, now)
    end_waits(connection, lease, ended, now)


def end_waits(connection: Connection, lease: Lease, ended: Sequence[NodeEnded], now: str) -> None:
    """End the tasks, event waits and requests of nodes that were parked and have now ended."""
    end_tasks(connection, lease, ended, now)
    end_event_waits(connection, lease, ended)
    # A node run that waits for a permit can only be cancelled: its request ends otherwise later.
    cancelled = [
        row_id(lease, node.node_id)
        for node in ended
        if node.status == NodeStatus.CANCELLED and node.waited_ms is not None
    ]
    if cancelled:
        withdraw_requests(connection, [lease.execution_id], cancelled)
