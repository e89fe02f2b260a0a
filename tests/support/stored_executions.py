"""Stored executions: facts that tests of the journal share, and queries of one."""

from database import Database
from database.executions.callbacks import CallbackStatus, callback_status

BEGUN = 2
"""Sequence number of an execution that was stored and claimed, before its first node."""


async def callback_of(database: Database, execution_id: str) -> CallbackStatus | None:
    """Return the status of the callback of an execution, also of a deleted one."""
    return await database._access.reader.run(
        lambda connection: callback_status(connection, execution_id)
    )


async def position_of(database: Database, execution_id: str, lease_seconds: float) -> int | None:
    """Return the position of an execution in the queue."""
    return await database._access.reader.run(
        lambda connection: database.queue.read_position(connection, execution_id, lease_seconds)
    )
