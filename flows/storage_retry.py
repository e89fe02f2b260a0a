"""Storage retry: repeats a database operation while the database is busy or full."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from engine.errors import StorageError

log = structlog.get_logger()

T = TypeVar("T")

INITIAL_BACKOFF_SECONDS = 0.1
"""Pause after the first failure, in seconds; it doubles with each further one."""

MAX_STORAGE_BACKOFF_SECONDS = 5.0
"""Maximum pause between two attempts, in seconds."""


def _never() -> bool:
    return False


async def retry_while_unavailable(
    operation: Callable[[], Awaitable[T]],
    name: str,
    give_up: Callable[[], bool] = _never,
    *,
    first_pause: float = INITIAL_BACKOFF_SECONDS,
    max_pause: float = MAX_STORAGE_BACKOFF_SECONDS,
) -> T:
    """Return the result of ``operation``; repeat it until it succeeds or ``give_up()`` is true.

    ``operation`` is one transaction: a failed attempt stored nothing. Only ``StorageError`` leads
    to another attempt. ``name`` is the operation's name in the log. The pause, in seconds, doubles
    from ``first_pause`` to ``max_pause``.

    Raises:
        StorageError: If ``give_up()`` is true after a failed attempt.
    """
    delay = first_pause
    while True:
        try:
            return await operation()
        except StorageError as error:
            if give_up():
                raise
            reason = str(error)
            log.warning("database_unavailable", operation=name, retry_in=delay, reason=reason)
        await asyncio.sleep(delay)
        delay = min(delay * 2, max_pause)
