"""Journal writer: records the steps of one running execution, one transaction at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog

from database import to_text
from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    RecordedStep,
    RetryLater,
)
from engine.node_run_key import NodeRunKey
from engine.outcome import Tally
from engine.parking import Resumption
from engine.status import NodeStatus
from flows.execution.context import ExecutorContext
from flows.execution.deferred_steps import DeferredSteps
from flows.execution.signals import StopReason
from flows.execution.stored_sizes import StoredSizes
from flows.nodes.progress import IsCurrent
from flows.nodes.retry_policy import OnRetry
from flows.storage_retry import retry_while_unavailable

log = structlog.get_logger()

T = TypeVar("T")

MAX_ROWS_PER_TRANSACTION = 500
"""Maximum number of rows that one step writes in a transaction."""


def _always() -> bool:
    return True


class JournalWriter:
    """Writes with consecutive sequence numbers, and retries while the database is unavailable.

    A lock serializes the writes, because a node may report progress or a retry while a step of the
    execution is recorded.
    """

    def __init__(
        self, context: ExecutorContext, seq: int, tally: Tally, sizes: StoredSizes
    ) -> None:
        self._journal = context.journal
        self._lease = context.lease
        self._signals = context.signals
        self._clock = context.clock
        self._seq = seq
        self._tally = tally
        self._sizes = sizes
        self._lock = asyncio.Lock()
        self._deferred = DeferredSteps(context.deferral_turn, context.signals, self.flush)

    async def resumptions(self) -> Mapping[NodeRunKey, Resumption]:
        """Return the resumptions of the waiting node runs."""
        found = await self._retry(lambda: self._journal.resumptions(self._lease), "resumption_poll")
        return _by_key(found)

    async def expire(self, keys: Sequence[NodeRunKey]) -> Mapping[NodeRunKey, Resumption]:
        """End the waits of these node runs, unless something else has ended them before.

        Returns:
            The resumptions of all waiting node runs.
        """
        node_ids = [str(key) for key in keys]
        async with self._lock:
            expire = partial(self._journal.expire, self._lease, node_ids)
            return _by_key(await self._retry(expire, "wait_expiry"))

    async def record_step(
        self,
        changes: NodeChanges,
        current_node_id: str | None,
        *,
        pure: bool = False,
        alone: bool = False,
    ) -> None:
        """Record a step of the execution, at most MAX_ROWS_PER_TRANSACTION rows at a time.

        A crash between two transactions loses nothing, because the plan decides the rest again.
        A ``pure`` step, which a crash may undo, can be recorded together with later steps; see
        ``DeferredSteps``. ``alone`` means that no other node of the execution runs, so that the
        step may wait.
        """
        if pure:
            async with self._lock:  # so that the steps before it are recorded
                deferred = await self._deferred.may_add(changes, patient=alone)
                if deferred:
                    self._deferred.add(self._counted(changes, current_node_id))
                    return
        async with self._lock:
            if any(node.status == NodeStatus.WAITING for node in changes.ended):
                # A node run that starts and parks in one transaction would have two equal events.
                await self._record_deferred()
            while True:
                batch, changes = _split(changes)
                await self._record(self._counted(batch, current_node_id))
                if not changes:
                    return

    def _counted(self, changes: NodeChanges, current_node_id: str | None) -> RecordedStep:
        """Return a step with the progress after it."""
        self._tally.add((node.node_id, node.status) for node in changes.ended)
        self._tally.add((node.node.id, node.status) for node in changes.decided)
        self._sizes.add_rows(len(changes.decided) + len(changes.started))
        progress = self._tally.progress(self._sizes.stored)
        return RecordedStep(to_text(self._clock()), changes, progress, current_node_id)

    async def _record(self, step: RecordedStep | None = None) -> None:
        """Record the deferred steps, and ``step`` after them. The caller holds the lock."""
        deferred = self._deferred.take()
        *earlier, last = deferred if step is None else (*deferred, step)
        changes, progress = replace(last.changes, earlier=earlier), last.progress
        try:
            self._seq = await self._retry(
                lambda: self._journal.record_step(
                    self._lease, self._seq, progress, last.current_node_id, changes=changes
                ),
                "step_recording",
            )
        except BaseException:
            self._deferred.put_back(deferred)
            raise

    async def _record_deferred(self) -> None:
        """Record the deferred steps. The caller holds the lock."""
        if self._deferred:
            await self._record()

    async def flush(self) -> None:
        """Record the deferred steps now."""
        async with self._lock:
            await self._record_deferred()

    @property
    def must_flush(self) -> bool:
        """Whether deferred steps could not be recorded; the next record raises the reason."""
        return self._deferred.failed

    async def close(self) -> None:
        """Wait until no step is being recorded; deferred steps are not recorded any more."""
        await self._deferred.close()

    async def park(self, due: datetime | None, permit_waits: Sequence[str] = ()) -> None:
        """Record that the execution waits, until ``due`` at the latest.

        ``permit_waits`` are the nodes that wait for a permit.
        """
        async with self._lock:
            await self._record_deferred()
            await self._retry(
                lambda: self._journal.park(self._lease, due, permit_waits), "execution_parking"
            )

    async def finish(self, result: ExecutionResult, changes: NodeChanges) -> None:
        """Record the end of the execution."""
        if len(changes) > MAX_ROWS_PER_TRANSACTION:
            with suppress(EndedElsewhereError):
                await self.record_step(changes, None)
                changes = NodeChanges()
        async with self._lock:
            changes = replace(changes, earlier=self._deferred.take())
            await self._retry(
                lambda: self._journal.finish(self._lease, self._seq, result, changes=changes),
                "result_recording",
            )

    async def record_progress(
        self,
        node_id: str,
        percentage: int | None,
        message: str | None,
        is_current: IsCurrent = _always,
    ) -> None:
        """Record the progress of a node, unless ``is_current`` returns false by then."""
        async with self._lock:
            if not is_current():
                return
            await self._record_deferred()
            self._seq = await self._retry(
                lambda: self._journal.record_report(
                    self._lease, self._seq, node_id, percentage, message
                ),
                "progress_recording",
            )

    async def record_retry(self, node_id: str, retry: RetryLater) -> None:
        """Record the failed attempt of a node run and the number of the next one."""
        async with self._lock:
            await self._record_deferred()
            self._seq = await self._retry(
                lambda: self._journal.record_retry(self._lease, self._seq, node_id, retry),
                "retry_recording",
            )

    def retry_recorder(self, node_id: str, attempts: int, failed: int) -> OnRetry:
        """Return the function that records the retries of one node run.

        ``attempts`` were made before this run of the handler, and ``failed`` of them failed.
        """

        async def record(attempt: int, error: str) -> None:
            retry = RetryLater(attempts + attempt + 1, failed + attempt, error)
            log.info("node_retried", node_id=node_id, attempt=retry.attempt, reason=error)
            # Shielded, because a cancellation of the node must not interrupt the transaction.
            await asyncio.shield(asyncio.ensure_future(self.record_retry(node_id, retry)))

        return record

    async def _retry(self, operation: Callable[[], Awaitable[T]], name: str) -> T:
        final = (StopReason.SHUTDOWN, StopReason.LEASE_LOST)
        return await retry_while_unavailable(operation, name, lambda: self._signals.reason in final)


def _by_key(found: Mapping[str, Resumption]) -> dict[NodeRunKey, Resumption]:
    return {NodeRunKey.parse(text): resumption for text, resumption in found.items()}


def _split(changes: NodeChanges) -> tuple[NodeChanges, NodeChanges]:
    """Return the rows of the next transaction and the rest, in the order of their writing."""
    ended = MAX_ROWS_PER_TRANSACTION
    decided = max(0, ended - len(changes.ended))
    started = max(0, decided - len(changes.decided))
    return (
        NodeChanges(changes.ended[:ended], changes.decided[:decided], changes.started[:started]),
        NodeChanges(changes.ended[ended:], changes.decided[decided:], changes.started[started:]),
    )
