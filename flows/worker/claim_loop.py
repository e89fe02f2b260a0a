"""Claim loop: lets claimable executions run, when it is requested and at every poll interval."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from engine.errors import StorageError
from flows.worker.state import WorkerState

log = structlog.get_logger()

Claim: TypeAlias = Callable[[WorkerState], Awaitable[None]]
"""Lets the executions run that are claimable now."""


async def claim_until_stopped(
    state: WorkerState, claim: Claim, is_stopping: Callable[[], bool], poll_seconds: float
) -> None:
    """Call ``claim`` when ``claim_requested`` is set, and at every interval."""
    while not is_stopping():
        state.claim_requested.clear()
        try:
            await claim(state)
        except StorageError as error:
            log.warning("database_unavailable", operation="claim", reason=str(error))
        except Exception:
            log.exception("claim_failed")
        try:
            async with asyncio.timeout(poll_seconds):
                await state.claim_requested.wait()
        except TimeoutError:
            continue
    state.claims_ended.set()
