"""Heartbeat: renews the leases of the executions that this worker runs."""

import asyncio
from collections.abc import Mapping

import structlog

from database import Database
from engine.errors import StorageError
from flows.execution.signals import ExecutionSignals, StopReason

log = structlog.get_logger()

MAX_UNRENEWED_SHARE = 0.75
"""Share of a lease without a renewal after which an execution stops that a limit applies to. The
rest is for the end of its handlers and for clocks that differ, because another execution may start
when the lease has expired."""


async def renew_leases_forever(
    database: Database,
    owner: str,
    active: Mapping[str, ExecutionSignals],
    lease_seconds: float,
    *,
    is_limited: bool = False,
) -> None:
    """Renew the leases at a quarter of their duration; stop the executions that lost theirs.

    An execution that uses a limit of several services also stops if its lease cannot be renewed.
    ``is_limited`` means that a limit applies to all executions.
    """
    loop = asyncio.get_running_loop()
    renewed_at: dict[str, float] = {}
    previous = loop.time()

    def uses_limit(signals: ExecutionSignals) -> bool:
        return is_limited or signals.uses_limit

    def stop_overdue() -> None:
        oldest = loop.time() - MAX_UNRENEWED_SHARE * lease_seconds
        for execution_id, signals in active.items():
            if uses_limit(signals) and renewed_at.get(execution_id, previous) <= oldest:
                signals.stop(StopReason.LEASE_LOST)

    while True:
        await asyncio.sleep(lease_seconds / 4)
        # An execution was claimed after the previous round, and its lease began then.
        renewed_at = {id_: renewed_at.get(id_, previous) for id_ in active}
        previous = loop.time()
        if not renewed_at:
            continue
        stop_overdue()
        timeout = lease_seconds / 4 if any(map(uses_limit, active.values())) else None
        try:
            async with asyncio.timeout(timeout):
                renewed = await database.queue.renew(owner, list(renewed_at), lease_seconds)
        except (StorageError, TimeoutError) as error:
            reason = str(error) or "the database did not respond"
            log.warning("database_unavailable", operation="lease_renewal", reason=reason)
            stop_overdue()
            continue
        for execution_id in renewed_at:
            signals = active.get(execution_id)
            if execution_id in renewed:
                renewed_at[execution_id] = previous
            elif signals is not None:
                signals.stop(StopReason.LEASE_LOST)
