"""Maintenance: deletes old executions, payloads and events, and repairs orphaned calls."""

import asyncio

import structlog

from database import Database
from engine.errors import StorageError

log = structlog.get_logger()

DEFAULT_DAYS = 30.0
"""Maximum age of finished executions in a database that the service created, in days. In any other
database, everything is kept by default."""

DEFAULT_COUNT = 10_000
"""Maximum number of finished executions in a database that the service created."""

MAINTENANCE_INTERVAL_SECONDS = 2.0
"""Interval between two rounds, in seconds. A round of an idle service has nine queries."""

BATCH_PAUSE_SECONDS = 0.05
"""Pause between two batches, in seconds, so that executions can use the database."""


async def run_maintenance_forever(
    database: Database, days: float | None, count: int | None
) -> None:
    """Delete executions over ``days`` old or beyond the last ``count``; repair orphaned calls."""
    defaults = days is None and count is None
    while True:
        try:
            if defaults and await database.retention.created_by_service():
                days, count = DEFAULT_DAYS, DEFAULT_COUNT
            defaults = False
            deleted = 0
            if days is not None or count is not None:
                while batch := await database.retention.delete_expired(days, count):
                    deleted += batch
                    await asyncio.sleep(BATCH_PAUSE_SECONDS)
            more = True
            while more:
                more = await database.retention.vacuum()
                await asyncio.sleep(BATCH_PAUSE_SECONDS)
            if deleted:
                log.info("executions_pruned", count=deleted)
            await database.retention.delete_expired_keys()
            await database.retention.delete_unused_payloads()
            if expired := await database.external_events.sweep():
                log.info("events_deleted", count=expired)
            if settled := await database.child_executions.sweep():
                log.warning("orphaned_calls_repaired", count=settled)
        except StorageError as error:
            log.warning("database_unavailable", operation="maintenance", reason=str(error))
        except Exception:
            log.exception("maintenance_failed")
        await asyncio.sleep(MAINTENANCE_INTERVAL_SECONDS)
