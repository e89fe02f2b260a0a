"""Task timers: reminds people of open tasks at every interval. Every service runs them."""

import asyncio
from collections.abc import Callable

import structlog

from database import Database
from engine.errors import StorageError

log = structlog.get_logger()

MIN_INTERVAL_SECONDS = 1.0
"""Shortest interval between two searches, in seconds. Reminders need no higher precision."""


async def run_task_timers_forever(
    database: Database, poll_seconds: float, on_callback: Callable[[], object]
) -> None:
    """Send due reminders and escalations; ``on_callback`` is called after some were stored."""
    while True:
        try:
            while count := await database.task_timers.run_due():
                log.info("task_timers_fired", count=count)
                on_callback()
        except StorageError as error:
            log.warning("database_unavailable", operation="task_timers", reason=str(error))
        except Exception:
            log.exception("task_timers_failed")
        await asyncio.sleep(max(poll_seconds, MIN_INTERVAL_SECONDS))
