"""Journal tail: reads new events once for all clients, and pushes them to the subscriptions.

It reads when a process has committed events. For processes that send no signal, it also reads at
every poll interval. A sweep detects executions that another program changed without an event.
"""

import asyncio
from collections.abc import Set
from contextlib import suppress

import structlog

from api.streaming.event_reader import PAGE_SIZE, EventReader, snapshot_messages
from api.streaming.execution_waits import ExecutionWaits
from api.streaming.messages import of_deleted, of_event
from api.streaming.subscription import SubscriptionIndex
from database import Database
from database.connection.commit_signal import Change
from database.queries.results import SubscriptionFilter
from engine.errors import ExecutionNotFoundError, StorageError

log = structlog.get_logger()

SWEEP_INTERVAL_SECONDS = 15.0
"""Interval between two checks for executions that ended or were deleted without an event."""


class JournalTail:
    """A task that runs while there are subscriptions. Used in one event loop."""

    def __init__(
        self,
        database: Database,
        reader: EventReader,
        subscriptions: SubscriptionIndex,
        waits: ExecutionWaits,
        poll_interval_seconds: float,
    ) -> None:
        self._feed = database.event_feed
        self._commit_signal = database.commit_signal
        self._reader = reader
        self._subscriptions = subscriptions
        self._waits = waits
        self._poll_interval_seconds = poll_interval_seconds
        self._loop = asyncio.get_running_loop()
        self._committed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._recently_ended: set[str] = set()

    async def start(self) -> None:
        """Start the task if necessary, and wait until it has read its first position."""
        if self._task is None or self._task.done():
            self._started = self._loop.create_future()
            self._task = asyncio.create_task(self._run(self._started))
        await asyncio.shield(self._started)

    def stop(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, started: asyncio.Future[None]) -> None:
        disconnect = self._commit_signal.connect(self._on_commit)
        try:
            position = await self._reader.position()
            started.set_result(None)
            next_sweep = self._loop.time() + SWEEP_INTERVAL_SECONDS
            while True:
                try:
                    position = await self._dispatch_after(position)
                    if self._loop.time() >= next_sweep:
                        await self._sweep()
                        next_sweep = self._loop.time() + SWEEP_INTERVAL_SECONDS
                except StorageError as error:
                    log.warning(
                        "database_unavailable", operation="reading events", reason=str(error)
                    )
                except Exception:  # the streams of all clients depend on this loop
                    log.exception("event_feed_failed")
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._committed.wait()
        finally:
            disconnect()
            if not started.done():
                started.cancel()

    def _pause(self) -> float:
        """Return the maximum pause between two reads, in seconds."""
        poll = self._poll_interval_seconds
        is_signalled = self._commit_signal.includes_other_processes
        return max(poll, SWEEP_INTERVAL_SECONDS) if is_signalled else poll

    def _on_commit(self, changes: Set[Change]) -> None:
        if Change.EVENTS in changes:
            self._wake()

    def _wake(self) -> None:
        """Request a read. Called in the thread that committed."""
        # If a request is pending, the next read includes this commit too.
        if not self._committed.is_set():
            with suppress(RuntimeError):  # the loop is closed, so that no client is left
                self._loop.call_soon_threadsafe(self._committed.set)

    async def _dispatch_after(self, position: int) -> int:
        self._committed.clear()
        has_more = True
        while has_more:
            changes, events, position, has_more = await self._feed.tail(
                position, self._subscriptions.is_wanted, PAGE_SIZE
            )
            for change in changes:
                self._waits.notify(change)
            for event in events:
                self._subscriptions.dispatch(of_event(event), event.organization_id)
        return position

    async def _sweep(self) -> None:
        """Push the ends and deletions of executions that another program changed."""
        execution_ids = self._subscriptions.execution_ids | self._waits.execution_ids
        if not execution_ids:
            return
        changes = await self._feed.last_changes(execution_ids)
        for change in changes.values():
            self._waits.notify(change)
        for execution_id in execution_ids - changes.keys():
            self._waits.notify_deleted(execution_id)
            self._subscriptions.push_to_execution(of_deleted(execution_id))
        ended = {
            i for i in self._subscriptions.execution_ids if i in changes and changes[i].has_ended
        }
        # The event of a recent end may not be dispatched yet, so that the next sweep checks again.
        for execution_id in ended & self._recently_ended:
            with suppress(ExecutionNotFoundError):  # deleted now; the next sweep detects it
                selection = SubscriptionFilter(frozenset({execution_id}))
                snapshots, _ = await self._feed.snapshots(selection)
                (message,) = await snapshot_messages(snapshots, None)
                self._subscriptions.push_to_execution(message)
        self._recently_ended = ended
