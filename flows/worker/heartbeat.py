"""Heartbeat: renews the leases of the executions that this worker runs."""

import asyncio
from collections.abc import Mapping

import structlog

from database import Database
from engine.errors import StorageError
from flows.execution.signals import ExecutionSignals, StopReason

log = structlog.get_logger()


async def renew_leases_forever(
    database: Database, owner: str, active: Mapping[str, ExecutionSignals], lease_seconds: float
) -> None:
    """Renew the leases at a quarter of their duration; stop the executions that lost theirs."""
    while True:
        await asyncio.sleep(lease_seconds / 4)
        execution_ids = list(active)
        if not execution_ids:
            continue
        try:
            renewed = await database.queue.renew(owner, execution_ids, lease_seconds)
        except StorageError as error:
            log.warning("database_unavailable", operation="lease_renewal", reason=str(error))
            continue
        for execution_id in execution_ids:
            signals = active.get(execution_id)
            if signals is not None and execution_id not in renewed:
                signals.stop(StopReason.LEASE_LOST)
