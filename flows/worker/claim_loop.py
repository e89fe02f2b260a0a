"""Claim loop: claims executions when the queue changes, when one is due, and at an interval."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import structlog

from database import Database
from engine.errors import StorageError
from flows.worker.state import WorkerState

log = structlog.get_logger()

Claim: TypeAlias = Callable[[WorkerState], Awaitable[None]]
"""Lets the executions run that are claimable now."""

IDLE_POLL_INTERVAL_SECONDS = 15.0
"""Interval between two polls while other processes signal their changes, in seconds. A due time or
the end of a lease makes it shorter."""
MAX_TIMER_DELAY_SECONDS = 1.0
"""Pause before an idle worker reads the next due time, in seconds, because a busy worker, which
other signals wake, needs no further query."""


@dataclass(frozen=True, slots=True)
class ClaimLoop:
    """Calls ``claim`` until the worker stops."""

    database: Database
    state: WorkerState
    claim: Claim
    is_stopping: Callable[[], bool]
    poll_seconds: float
    uses_due_times: bool = True
    """Whether the due times in the queue determine when ``claim`` has something to do."""

    async def run(self) -> None:
        """Claim now and after each change of the queue; wait for the last claim at the end."""
        state = self.state
        while not self.is_stopping():
            state.claim_requested.clear()
            started = self.database.clock()
            try:
                await self.claim(state)
            except StorageError as error:
                log.warning("database_unavailable", operation="claim", reason=str(error))
            except Exception:
                log.exception("claim_failed")
            await self._wait(started)
        state.claims_ended.set()

    async def _wait(self, claimed_at: datetime) -> None:
        """Wait until a claim is requested, or until the next poll."""
        if not self.uses_due_times or not self._is_signalled():
            await self._is_requested_within(self.poll_seconds)
            return
        first = min(self.poll_seconds, MAX_TIMER_DELAY_SECONDS)
        if await self._is_requested_within(first) or not self._is_signalled():
            return
        try:
            due = await self.database.queue.next_due(claimed_at, list(self.state.active))
        except StorageError:
            return  # the next claim fails too, and logs the reason
        idle = max(self.poll_seconds, IDLE_POLL_INTERVAL_SECONDS)
        if due is not None:
            idle = min(idle, (due - self.database.clock()).total_seconds())
        await self._is_requested_within(idle)  # at once if it is negative

    def _is_signalled(self) -> bool:
        return self.database.commit_signal.includes_other_processes

    async def _is_requested_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.state.claim_requested.wait()
        except TimeoutError:
            return False
        return True
