"""What a service does beside running executions: keeps their leases, and hears what came for them
from elsewhere.
"""

import asyncio
from collections.abc import Mapping

import structlog

from database import Database
from engine.errors import StorageError
from flows.execution.signals import ExecutionSignals, StopReason

log = structlog.get_logger()

MAX_SETTLE_SHARE = 0.05
"""Maximum share of the time that the search for executions ended by other programs takes: it reads
one row for each execution that is parked or in the queue."""


async def renew_leases_forever(
    database: Database, owner: str, active: Mapping[str, ExecutionSignals], lease_seconds: float
) -> None:
    """Renews the leases; where one was lost, the walk stops and writes nothing more."""
    while True:
        await asyncio.sleep(lease_seconds / 4)
        before = list(active)
        if not before:
            continue
        try:
            held = await database.queue.renew(owner, before, lease_seconds)
        except StorageError as error:
            log.warning("database_unavailable", operation="lease_renewal", reason=str(error))
            continue
        for execution_id in before:
            control = active.get(execution_id)
            if control is not None and execution_id not in held:
                control.stop(StopReason.LEASE_LOST)


async def listen(
    database: Database,
    owner: str,
    active: Mapping[str, ExecutionSignals],
    look: asyncio.Event,
    poll_seconds: float,
) -> None:
    """Hears of cancellations, and of answers for those who wait, at every poll and on ``look``.

    They come from other services, from other programs that write to the database, or from the end
    of an execution that called or was called.
    """
    loop = asyncio.get_running_loop()
    settle_at = loop.time()
    while True:
        try:
            async with asyncio.timeout(poll_seconds):
                await look.wait()
        except TimeoutError:
            pass
        look.clear()
        try:
            if (begun := loop.time()) >= settle_at:
                if settled := await database.queue.settle_foreign_ends():
                    log.warning("foreign_ends_settled", count=settled)
                took = loop.time() - begun
                settle_at = begun + max(poll_seconds * 0.9, took / MAX_SETTLE_SHARE)
            if not active:
                continue
            cancelled = await database.queue.cancellations(owner)
        except StorageError as error:
            log.warning("database_unavailable", operation="signal_poll", reason=str(error))
            await asyncio.sleep(poll_seconds)
            continue
        for execution_id in cancelled:
            if control := active.get(execution_id):
                control.stop(StopReason.CANCEL)
        for control in list(active.values()):
            control.notify_resumed()
