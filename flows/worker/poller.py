"""Signal poller: delivers cancellations and resumptions from the database to running executions."""

import asyncio

import structlog

from database import Database
from engine.errors import StorageError
from flows.execution.signals import StopReason
from flows.worker.state import WorkerState

log = structlog.get_logger()

MAX_SETTLE_SHARE = 0.05
"""Maximum share of the time that is spent on executions which other programs ended: their search
reads one row for each parked or pending execution."""
MAX_SETTLE_PAUSE_SECONDS = 5.0
"""Maximum pause between two searches, because a single one can take long on a busy machine."""


def settlement_pause(duration: float, poll_seconds: float) -> float:
    """Return the seconds from the start of a search that took ``duration`` to the next one."""
    shortest = poll_seconds * 0.9
    return max(shortest, min(duration / MAX_SETTLE_SHARE, MAX_SETTLE_PAUSE_SECONDS))


async def poll_signals_forever(
    database: Database, state: WorkerState, poll_seconds: float, *, settles: bool = True
) -> None:
    """Poll the database for signals, at every interval and when ``poll_requested`` is set.

    The signals come from other services, from other programs that write to the database, and from
    the end of a parent or child execution. ``settles`` is whether this process also settles the
    executions without an owner that another program has ended.
    """
    active, poll_requested = state.active, state.poll_requested
    loop = asyncio.get_running_loop()
    next_settlement = loop.time()
    while True:
        try:
            async with asyncio.timeout(poll_seconds):
                await poll_requested.wait()
        except TimeoutError:
            pass
        poll_requested.clear()
        try:
            if settles and (started := loop.time()) >= next_settlement:
                if settled := await database.queue.settle_foreign_ends():
                    log.warning("foreign_ends_settled", count=settled)
                pause = settlement_pause(loop.time() - started, poll_seconds)
                next_settlement = started + pause
            if not active:
                continue
            cancelled = await database.queue.cancellations(state.owner)
        except StorageError as error:
            log.warning("database_unavailable", operation="signal_poll", reason=str(error))
            await asyncio.sleep(poll_seconds)
            continue
        for execution_id in cancelled:
            if signals := active.get(execution_id):
                signals.stop(StopReason.CANCEL)
        for signals in list(active.values()):
            signals.notify_resumed()
