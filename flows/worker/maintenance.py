"""Housekeeping beside the executions: in small bites it forgets old ones and settles open calls."""

import asyncio

import structlog

from database import Database
from engine.errors import StorageError

log = structlog.get_logger()

DEFAULT_DAYS = 30.0
DEFAULT_COUNT = 10_000
"""What a database of the service's own making keeps; any other keeps everything by default."""
MAINTENANCE_INTERVAL_SECONDS = 1.0
BATCH_PAUSE_SECONDS = 0.05
"""Between two bites, so that executions get their turn at the database."""


async def run_maintenance_forever(
    database: Database, days: float | None, count: int | None
) -> None:
    """Forgets what is older or more than is kept, and tells those who wait for what is no more, for
    as long as the service runs.
    """
    defaults = days is None and count is None
    while True:
        try:
            if defaults and await database.retention.created_by_service():
                days, count = DEFAULT_DAYS, DEFAULT_COUNT
            defaults = False
            forgotten = 0
            if days is not None or count is not None:
                while bite := await database.retention.delete_expired(days, count):
                    forgotten += bite
                    await asyncio.sleep(BATCH_PAUSE_SECONDS)
            more = True
            while more:
                more = await database.retention.vacuum()
                await asyncio.sleep(BATCH_PAUSE_SECONDS)
            if forgotten:
                log.info("executions_pruned", count=forgotten)
            await database.retention.delete_expired_keys()
            if settled := await database.child_executions.sweep():
                log.warning("orphaned_calls_repaired", count=settled)
        except StorageError as error:
            log.warning("database_unavailable", operation="maintenance", reason=str(error))
        except Exception:
            log.exception("maintenance_failed")
        await asyncio.sleep(MAINTENANCE_INTERVAL_SECONDS)
