"""Readiness: checks whether the service can accept and run executions now."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from database import Database
from engine.errors import StorageError
from flows.worker.worker import Worker

CHECK_TIMEOUT_SECONDS = 2.0
"""Timeout of each check, in seconds. The checks run at the same time."""
REUSE_SECONDS = 1.0
"""Time in which the result of a check is reused, in seconds, so that frequent requests, for which
no key is required, do not cause frequent writes."""


class _Check:
    """One check, which runs at most once at a time and once per ``REUSE_SECONDS``."""

    def __init__(self, run: Callable[[], Awaitable[str | None]], timeout_reason: str) -> None:
        self._run = run
        self._timeout_reason = timeout_reason
        self._task: asyncio.Task[str | None] | None = None
        self._ended_at = 0.0

    async def failure(self) -> str | None:
        """Return the reason of a failure; ``None`` if the check succeeded."""
        if self._task is None or (
            self._task.done() and monotonic() - self._ended_at >= REUSE_SECONDS
        ):
            self._task = asyncio.ensure_future(self._timed())
        # A check that is too slow continues, because a second one would have to wait for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                return await asyncio.shield(self._task)
        return self._timeout_reason

    async def _timed(self) -> str | None:
        try:
            return await self._run()
        finally:
            self._ended_at = monotonic()


class Readiness:
    """The checks of one service. Used in one event loop."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        is_shutting_down: Callable[[], bool],
        executors_failure: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._is_shutting_down = is_shutting_down
        self._executors_failure = executors_failure
        seconds = f"{CHECK_TIMEOUT_SECONDS:g} s"
        self._checks = (
            _Check(self._write, f"the database did not commit a write within {seconds}"),
            _Check(self._ping, f"the worker did not respond within {seconds}"),
        )

    async def failure(self) -> str | None:
        """Return why the service is not ready; ``None`` if it is."""
        if self._is_shutting_down():
            return "the service is shutting down"
        if not self._worker.accepts_work:
            return "the worker has stopped"
        if reason := self._executors_failure():
            return reason
        failures = await asyncio.gather(*(check.failure() for check in self._checks))
        return "; ".join(failure for failure in failures if failure) or None

    async def _write(self) -> str | None:
        try:
            await self._database.statistics.probe_write()
        except StorageError as error:
            return f"the database cannot be written: {error}"
        return None

    async def _ping(self) -> str | None:
        async def respond() -> None:
            """Return from the worker's event loop, which shows that it is not blocked."""

        try:
            await asyncio.wrap_future(self._worker.submit(respond))
        except RuntimeError:
            return "the worker is restarting"
        return None
