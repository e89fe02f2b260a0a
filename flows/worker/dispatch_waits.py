"""Dispatch waits: let a worker of a work pool poll it when a flow run was submitted.

PostgreSQL notifies all workers of the commit that records a submission. Without notifications, a
worker polls at a short interval.
"""

import asyncio
import random
from collections.abc import Set
from contextlib import suppress

from database import Database
from database.connection.commit_signal import Change

POLL_INTERVAL_SECONDS = 0.2
"""Interval between two polls of the pool without notifications, in seconds."""
NOTIFIED_POLL_INTERVAL_SECONDS = 2.0
"""Interval between two polls with notifications, in seconds: for flow runs whose dispatcher was
killed before its commit, and for those that an operator schedules again."""
MAX_SPREAD_SECONDS = 0.03
"""Maximum random delay of a poll after a notification, in seconds. The first worker that polls gets
the flow run, and each other worker that has read it sends a request without effect."""


class DispatchWaits:
    """Waits of one worker. Used in one event loop."""

    def __init__(self, database: Database) -> None:
        self._signal = database.commit_signal
        self._requested = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_commit(changes: Set[Change]) -> None:  # called in the thread that committed
            if Change.DISPATCHES in changes and not self._requested.is_set():
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self.request)

        self._signal.connect(on_commit)

    def request(self) -> None:
        """Let the next wait end at once, because a slot is free."""
        self._requested.set()

    async def wait(self, load: float) -> None:
        """Wait until a flow run was submitted, or until the next poll.

        A worker with a larger ``load``, the used share of its slots, lets the others poll first.
        """
        is_notified = self._signal.includes_other_processes
        seconds = NOTIFIED_POLL_INTERVAL_SECONDS if is_notified else POLL_INTERVAL_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        if self._requested.is_set():
            self._requested.clear()
            await asyncio.sleep(MAX_SPREAD_SECONDS * (load + random.random()) / 2)  # noqa: S311
