"""Execution writer: records the steps of one running execution in its journal, one at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import structlog

from database.journal import Journal
from database.node_records import NodeDecided, NodeEnded, NodeStarted, RetryLater
from database.records import Ending, Lease
from engine.parking import Resumption
from engine.plan import Progress
from flows.control import RunControl, StopReason
from flows.node_runs import OnRetry
from flows.patience import patiently
from flows.reports import Record, Wanted

log = structlog.get_logger()

T = TypeVar("T")


def _always() -> bool:
    return True


class ExecutionWriter:
    """Writes with the right sequence number, and waits for a database that is busy.

    The lock keeps the order: a report or a retry of a node may be recorded at the same time as a
    step of the execution.
    """

    def __init__(self, journal: Journal, lease: Lease, seq: int, control: RunControl) -> None:
        self._journal = journal
        self._lease = lease
        self._seq = seq
        self._control = control
        self._writing = asyncio.Lock()

    async def resumptions(self) -> Mapping[str, Resumption]:
        """Return the resumptions of the nodes that wait, by node id."""
        return await self._patiently(
            lambda: self._journal.resumptions(self._lease), "looking for answers"
        )

    async def step(
        self,
        progress: Progress,
        current_node_id: str | None,
        *,
        ended: Sequence[NodeEnded],
        decided: Sequence[NodeDecided],
        started: Sequence[NodeStarted],
    ) -> None:
        """Record a step of the execution."""
        async with self._writing:
            self._seq = await self._patiently(
                lambda: self._journal.record_step(
                    self._lease,
                    self._seq,
                    progress,
                    current_node_id,
                    ended=ended,
                    decided=decided,
                    started=started,
                ),
                "recording a step",
            )

    async def park(self, due: datetime | None) -> None:
        """Record that the execution waits, until ``due`` at the latest."""
        async with self._writing:
            await self._patiently(lambda: self._journal.park(self._lease, due), "parking")

    async def finish(
        self, ending: Ending, ended: Sequence[NodeEnded], decided: Sequence[NodeDecided]
    ) -> None:
        """Record the end of the execution."""
        async with self._writing:
            await self._patiently(
                lambda: self._journal.finish(
                    self._lease, self._seq, ending, ended=ended, decided=decided
                ),
                "recording the end",
            )

    async def report(
        self, node_id: str, percentage: int | None, message: str | None, wanted: Wanted = _always
    ) -> None:
        """Record the progress that a node reports, unless ``wanted`` returns false by then."""
        async with self._writing:
            if not wanted():
                return
            self._seq = await self._patiently(
                lambda: self._journal.record_report(
                    self._lease, self._seq, node_id, percentage, message
                ),
                "recording a report",
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
                self._seq = await self._patiently(
                    lambda: self._journal.record_retry(self._lease, self._seq, node_id, retry),
                    "recording a retry",
                )

        async def note(attempt: int, error: str) -> None:
            retry = RetryLater(begun + attempt + 1, failed + attempt, error)
            log.info("node_retry", node_id=node_id, attempt=retry.attempt, reason=error)
            # The node may be cancelled at any await; its write must not break in the middle.
            await asyncio.shield(asyncio.ensure_future(write(retry)))

        return note

    async def _patiently(self, operation: Callable[[], Awaitable[T]], what: str) -> T:
        gone = (StopReason.SHUTDOWN, StopReason.LEASE_LOST)
        return await patiently(operation, what, lambda: self._control.reason in gone)
