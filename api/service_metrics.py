"""Service metrics: numbers of the stream clients and of the queue for each scrape."""

import asyncio
from collections.abc import Iterator
from time import monotonic

import structlog

from api.streaming.broadcaster import EventBroadcaster
from database import Database
from database.queries.statistics import QueueStatistics
from engine.errors import StorageError
from metrics import Metrics

READ_TIMEOUT_SECONDS = 5.0
"""Timeout for the state of the queue, in seconds; then a scrape omits it."""
REUSE_SECONDS = 1.0
"""Time in which the state of the queue is reused, in seconds, because it takes longer to read with
many executions."""

log = structlog.get_logger()


class QueueWatch:
    """The state of the queue, read at most once at a time and once per ``REUSE_SECONDS``."""

    def __init__(self, database: Database) -> None:
        self._statistics = database.statistics
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._last: QueueStatistics | None = None

    async def refresh(self) -> None:
        """Read the state of the queue; without a database there is none."""
        async with self._lock:
            if monotonic() - self._read_at < REUSE_SECONDS:
                return
            try:
                async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                    self._last = await self._statistics.read_queue()
            except (StorageError, TimeoutError) as error:
                log.warning("database_unavailable", operation="metrics", reason=str(error))
                self._last = None
            self._read_at = monotonic()

    def gauges(self) -> Iterator[tuple[str, str, dict[str, float] | float]]:
        """Yield the name, description and value of each gauge."""
        last = self._last
        yield "database_up", "Whether the last scrape could read the database.", float(bool(last))
        if last is None:
            return
        open_executions = {status: float(count) for status, count in last.open_executions.items()}
        yield "open_executions", "Executions that have not ended, by status.", open_executions
        yield "queue_depth", "Executions that a worker may claim now.", float(last.depth)
        oldest = "Time since the oldest of these executions became claimable."
        yield "queue_oldest_seconds", oldest, last.oldest_seconds
        yield "open_tasks", "Tasks that wait for people.", float(last.open_tasks)
        events = "Events from outside that no node has received yet."
        yield "kept_events", events, float(last.kept_events)


def watch_service(metrics: Metrics, broadcaster: EventBroadcaster, queue: QueueWatch) -> None:
    """Add the numbers of stream clients and of the queue to the metrics."""
    metrics.watch_stream_clients("subscription", lambda: broadcaster.subscription_count)
    metrics.watch_stream_clients("wait", lambda: broadcaster.wait_count)
    metrics.watch(queue.gauges)
