"""Execution writer: records the steps of one running execution in its journal, one at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import structlog

from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal import Journal
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
    RetryLater,
)
from database.records import Lease
from engine.node_run_key import NodeRunKey
from engine.parking import Resumption
from engine.tally import Tally
from flows.execution.protocol import OnRetry
from flows.execution.signals import ExecutionSignals, StopReason
from flows.execution.stored_sizes import StoredSizes
from flows.nodes.progress import Record, Wanted
from flows.storage_retry import retry_while_unavailable

log = structlog.get_logger()

T = TypeVar("T")

MAX_ROWS_PER_TRANSACTION = 500
"""Maximum number of rows that one transaction of an execution writes."""


def _always() -> bool:
    return True


class JournalWriter:
    """Writes with the right sequence number, and waits for a database that is busy.

    The lock keeps the order: a report or a retry of a node may be recorded at the same time as a
    step of the execution.
    """

    def __init__(
        self,
        journal: Journal,
        lease: Lease,
        seq: int,
        control: ExecutionSignals,
        tally: Tally,
        sizes: StoredSizes,
    ) -> None:
        self._journal = journal
        self._tally = tally
        self._sizes = sizes
        self._lease = lease
        self._seq = seq
        self._control = control
        self._writing = asyncio.Lock()

    async def resumptions(self) -> Mapping[NodeRunKey, Resumption]:
        """Return the resumptions of the nodes that wait."""
        found = await self._retry_while_unavailable(
            lambda: self._journal.resumptions(self._lease), "resumption_poll"
        )
        return {NodeRunKey.parse(text): resumption for text, resumption in found.items()}

    async def step(
        self,
        current_node_id: str | None,
        *,
        ended: Sequence[NodeEnded],
        decided: Sequence[NodeOutcomeRecorded],
        started: Sequence[NodeStarted],
    ) -> None:
        """Record a step of the execution, at most MAX_ROWS_PER_TRANSACTION rows at a time.

        A crash between two transactions loses nothing, because the plan decides the rest again.
        """
        async with self._writing:
            while True:
                left = MAX_ROWS_PER_TRANSACTION
                first, ended = ended[:left], ended[left:]
                left -= len(first)
                second, decided = decided[:left], decided[left:]
                left -= len(second)
                third, started = started[:left], started[left:]
                await self._step(current_node_id, first, second, third)
                if not (ended or decided or started):
                    return

    async def _step(
        self,
        current_node_id: str | None,
        ended: Sequence[NodeEnded],
        decided: Sequence[NodeOutcomeRecorded],
        started: Sequence[NodeStarted],
    ) -> None:
        self._tally.add((node.node_id, node.status) for node in ended)
        self._tally.add((node.node.id, node.status) for node in decided)
        self._sizes.add_rows(len(decided) + len(started))
        progress = self._tally.progress(self._sizes.stored)
        self._seq = await self._retry_while_unavailable(
            lambda: self._journal.record_step(
                self._lease,
                self._seq,
                progress,
                current_node_id,
                changes=NodeChanges(ended, decided, started),
            ),
            "step_recording",
        )

    async def park(self, due: datetime | None) -> None:
        """Record that the execution waits, until ``due`` at the latest."""
        async with self._writing:
            await self._retry_while_unavailable(
                lambda: self._journal.park(self._lease, due), "execution_parking"
            )

    async def finish(
        self,
        ending: ExecutionResult,
        ended: Sequence[NodeEnded],
        decided: Sequence[NodeOutcomeRecorded],
    ) -> None:
        """Record the end of the execution."""
        if len(ended) + len(decided) > MAX_ROWS_PER_TRANSACTION:
            with suppress(EndedElsewhereError):
                await self.step(None, ended=ended, decided=decided, started=())
                ended, decided = (), ()
        async with self._writing:
            await self._retry_while_unavailable(
                lambda: self._journal.finish(
                    self._lease, self._seq, ending, changes=NodeChanges(ended, decided)
                ),
                "result_recording",
            )

    async def report(
        self, node_id: str, percentage: int | None, message: str | None, wanted: Wanted = _always
    ) -> None:
        """Record the progress that a node reports, unless ``wanted`` returns false by then."""
        async with self._writing:
            if not wanted():
                return
            self._seq = await self._retry_while_unavailable(
                lambda: self._journal.record_report(
                    self._lease, self._seq, node_id, percentage, message
                ),
                "progress_recording",
            )

    def report_of(self, node_id: str) -> Record:
        """Return the function that records the reports of one node."""

        async def record(percentage: int | None, message: str | None, wanted: Wanted) -> None:
            await self.report(node_id, percentage, message, wanted)

        return record

    def retry_of(self, node_id: str, begun: int, failed: int) -> OnRetry:
        """Return the function that records the retries of one node run.

        Args:
            node_id: the key of the node run.
            begun: the number of attempts before this run of the handler.
            failed: how many of them failed.
        """

        async def write(retry: RetryLater) -> None:
            async with self._writing:
                self._seq = await self._retry_while_unavailable(
                    lambda: self._journal.record_retry(self._lease, self._seq, node_id, retry),
                    "retry_recording",
                )

        async def note(attempt: int, error: str) -> None:
            retry = RetryLater(begun + attempt + 1, failed + attempt, error)
            log.info("node_retried", node_id=node_id, attempt=retry.attempt, reason=error)
            # The node may be cancelled at any await; its write must not break in the middle.
            await asyncio.shield(asyncio.ensure_future(write(retry)))

        return note

    async def _retry_while_unavailable(self, operation: Callable[[], Awaitable[T]], what: str) -> T:
        gone = (StopReason.SHUTDOWN, StopReason.LEASE_LOST)
        return await retry_while_unavailable(operation, what, lambda: self._control.reason in gone)
