"""Waiting for a database that is busy or full: nothing is lost, everything is late."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from engine.errors import StorageError

log = structlog.get_logger()

T = TypeVar("T")

INITIAL_BACKOFF_SECONDS = 0.1
MAX_STORAGE_BACKOFF_SECONDS = 5.0


async def patiently(
    operation: Callable[[], Awaitable[T]], what: str, give_up: Callable[[], bool]
) -> T:
    """What ``operation`` answers, tried until the database takes it or ``give_up()`` says so.

    ``operation`` is one transaction: where it fails, nothing of it was stored. Errors other than
    ``StorageError`` are the caller's at once.

    Raises:
        StorageError: the last one, when it was given up.
    """
    delay = INITIAL_BACKOFF_SECONDS
    while True:
        try:
            return await operation()
        except StorageError as error:
            if give_up():
                raise
            log.warning("database_unavailable", doing=what, retry_in=delay, reason=str(error))
        await asyncio.sleep(delay)
        delay = min(delay * 2, MAX_STORAGE_BACKOFF_SECONDS)
