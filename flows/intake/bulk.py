"""Bulk runner: applies bulk operations to their executions, in small concurrent batches."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from database import Database, to_text
from database.bulk.records import BulkReceipt, BulkRequest, ClaimedBulk
from database.schedules.records import PendingLimits
from engine.errors import QueueFullError, StorageError, WorkflowServiceError
from flows.intake.reruns import Rerun, RerunService

log = structlog.get_logger()

BATCH_SIZE = 20
"""Number of executions that are treated at the same time."""
FULL_QUEUE_PAUSE_SECONDS = 1.0
"""Pause of an operation whose executions found no place in the queue, in seconds."""
SEARCHES_PER_LEASE = 4
"""Number of searches for operations of crashed services within the duration of a lease."""
KEPT_DAYS = 30
"""Time for which a completed operation and its idempotency key are kept, in days."""


@dataclass(slots=True)
class BulkService:
    """Stores bulk operations, and treats their executions. Every service runs one.

    Another service continues an operation whose service crashed, after ``lease_seconds``. A new
    operation starts at once, so that an idle service needs to look for those of others rarely.
    """

    reruns: RerunService
    limits: PendingLimits
    poll_interval_seconds: float
    lease_seconds: float
    _owner: str = field(default_factory=lambda: str(uuid.uuid4()))
    _requested: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def _database(self) -> Database:
        return self.reruns.submissions.database

    async def create(self, request: BulkRequest) -> BulkReceipt:
        """Store an operation; it starts at once. See ``BulkStore.create``."""
        receipt = await self._database.bulk.create(request)
        self._requested.set()
        return receipt

    async def run_forever(self) -> None:
        """Treat the executions of claimable operations until cancelled."""
        while True:
            self._requested.clear()
            pause = self.poll_interval_seconds
            try:
                pause = await self._run_batches()
            except StorageError as error:
                log.warning("database_unavailable", operation="bulk", reason=str(error))
            except Exception:
                log.exception("bulk_failed")
            try:
                async with asyncio.timeout(pause):
                    await self._requested.wait()
            except TimeoutError:
                continue

    async def _run_batches(self) -> float:
        """Treat all executions that can be treated now; return the pause afterwards, in seconds."""
        while (pause := await self.run_batch()) == 0:
            continue
        oldest = self._database.clock() - timedelta(days=KEPT_DAYS)
        await self._database.bulk.delete_completed(to_text(oldest))
        return pause

    async def run_batch(self) -> float:
        """Treat the next executions of the oldest operation.

        Returns:
            The pause until the next batch, in seconds; 0 if more executions may follow.

        Raises:
            StorageError: If the database is unavailable; the items are still pending.
        """
        work = self._database.bulk_work
        bulk = await work.claim(self._owner, BATCH_SIZE, self.lease_seconds)
        if bulk is None:
            return max(self.poll_interval_seconds, self.lease_seconds / SEARCHES_PER_LEASE)
        if not bulk.execution_ids:
            log.info("bulk_completed", bulk_id=bulk.id, action=bulk.action)
            return 0
        results = await asyncio.gather(
            *(self._apply(bulk, execution_id) for execution_id in bulk.execution_ids),
            return_exceptions=True,
        )
        self.reruns.submissions.worker.wake()
        errors = [result for result in results if isinstance(result, BaseException)]
        is_full = any(isinstance(error, QueueFullError) for error in errors)
        await work.release(bulk, FULL_QUEUE_PAUSE_SECONDS if is_full else 0)
        for error in errors:
            if not isinstance(error, QueueFullError):
                raise error
        return self.poll_interval_seconds if is_full else 0

    async def _apply(self, bulk: ClaimedBulk, execution_id: str) -> None:
        """Apply the action to one execution; record why it cannot be applied.

        Raises:
            QueueFullError: If the queue is full; the item is still pending.
            StorageError: If the database is unavailable; the item is still pending.
        """
        try:
            if bulk.action == "rerun":
                await self._rerun(bulk, execution_id)
            elif bulk.action == "cancel":
                self._stop(execution_id, await self._database.bulk_work.cancel(bulk, execution_id))
            else:
                await self._database.bulk_work.delete(bulk, execution_id)
        except (QueueFullError, StorageError):
            raise
        except WorkflowServiceError as error:
            await self._database.bulk_work.fail(bulk, execution_id, str(error))

    async def _rerun(self, bulk: ClaimedBulk, execution_id: str) -> None:
        work = self._database.bulk_work
        await work.require_organization(bulk, execution_id)
        rerun = Rerun(definition=bulk.definition)
        prepared = await self.reruns.prepare(execution_id, rerun)
        await work.rerun(bulk, execution_id, prepared.submission, self.limits)

    def _stop(self, execution_id: str, owned: Sequence[str]) -> None:
        for stopped in {execution_id, *owned}:
            self.reruns.submissions.worker.cancel(stopped)
