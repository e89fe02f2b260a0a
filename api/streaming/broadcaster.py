"""Event broadcaster: delivers events to clients, each from its own position in the journal.

A client reads the events that it misses live from the journal, so that a slow or interrupted
connection loses no event and receives none twice.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress

from api.streaming.event_reader import EventReader
from api.streaming.execution_waits import ExecutionWaits
from api.streaming.journal_tail import JournalTail
from api.streaming.messages import Message, of_event
from api.streaming.subscription import Subscription, SubscriptionIndex
from database import Database
from database.queries.results import SubscriptionFilter
from engine.json_values import JsonValue

PING_INTERVAL_SECONDS = 15.0
"""Interval between two pings of a stream without messages."""


class EventBroadcaster:
    """Streams events to clients. Used in one event loop; ``publish`` is thread-safe."""

    def __init__(self, database: Database, poll_interval_seconds: float) -> None:
        self._feed = database.event_feed
        self._loop = asyncio.get_running_loop()
        self._reader = EventReader(self._feed, poll_interval_seconds)
        self._subscriptions = SubscriptionIndex()
        self._waits = ExecutionWaits()
        self._tail = JournalTail(
            database, self._reader, self._subscriptions, self._waits, poll_interval_seconds
        )
        self.closing = False
        """Whether the service is shutting down."""

    @property
    def subscription_count(self) -> int:
        """The number of open subscriptions."""
        return len(list(self._subscriptions))

    @property
    def wait_count(self) -> int:
        """The number of requests that wait for a change."""
        return len(self._waits)

    def publish(self, execution_id: str, body: Mapping[str, JsonValue]) -> None:
        """Send a message that the journal does not contain to the clients of an execution."""
        if not self._subscriptions.has_execution(execution_id):
            return
        message = Message(execution_id, body)
        with suppress(RuntimeError):  # the loop is closed, so that no client is left
            self._loop.call_soon_threadsafe(self._subscriptions.dispatch, message, None)

    def close(self) -> None:
        """End every stream now, and every stream that is opened later."""
        self.closing = True
        for subscription in self._subscriptions:
            subscription.close()
        self._waits.close()

    async def is_complete(self, execution_ids: frozenset[str], position: int) -> bool:
        """Return whether these executions have ended, with no event after ``position``."""
        if execution_ids - await self._reader.ended(execution_ids):
            return False
        events, _, _ = await self._feed.read_after(position, SubscriptionFilter(execution_ids), 1)
        return not events

    async def subscribe(
        self, selection: SubscriptionFilter, after: int | None = None
    ) -> AsyncGenerator[Message | None]:
        """Yield the events after the position ``after``; without one, first the current state.

        Ends after the last message of the selected executions, and when the service shuts down.
        Yields ``None`` after ``PING_INTERVAL_SECONDS`` without a message. Close it to stop early.
        """
        subscription = Subscription(selection)
        if self.closing:
            subscription.close()
        open_ids = set(selection.execution_ids or ())
        self._subscriptions.add(subscription)
        try:
            await self._tail.start()
            async with aclosing(self._messages(subscription, open_ids, after)) as messages:
                async for message in messages:
                    yield message
                    if message is not None and message.ends and message.execution_id in open_ids:
                        open_ids.remove(message.execution_id)
                        self._subscriptions.remove_execution(subscription, message.execution_id)
        finally:
            self._subscriptions.remove(subscription)
            self._stop_unused_tail()

    async def wait(self, execution_id: str, after_seq: int | None, timeout_seconds: float) -> None:
        """Wait until the sequence number of an execution exceeds ``after_seq``, or until its end.

        Returns earlier if the execution is deleted or the service shuts down, and at the timeout.
        Without ``after_seq`` it waits for the end only.
        """
        wait = self._waits.add(execution_id, after_seq)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._tail.start()
                    # Read after the start, so that no change is missed.
                    changes = await self._reader.last_changes([execution_id])
                    if execution_id not in changes:
                        return
                    wait.notify(changes[execution_id])
                    await wait.done
        finally:
            self._waits.remove(wait)
            self._stop_unused_tail()

    def _stop_unused_tail(self) -> None:
        if self._subscriptions.is_empty and not self._waits:
            self._tail.stop()

    async def _messages(
        self, subscription: Subscription, open_ids: set[str], after: int | None
    ) -> AsyncGenerator[Message | None]:
        """Yield the messages for a client until none of its executions is in ``open_ids``."""
        selection = subscription.selection
        by_id = selection.execution_ids is not None
        ended: set[str] = set()
        with_events: set[str] = set()
        if after is None:
            snapshots, position = await self._reader.snapshots(selection)
            for message in snapshots:
                yield message
        else:
            # This is read before the events, so that they include the end of every other execution.
            ended = await self._reader.ended(open_ids)
            position = after
            subscription.mark_lagging()
        while not subscription.closed and (open_ids or not by_id):
            if subscription.lagging:
                subscription.catch_up()
                has_more = True
                while has_more:
                    events, position, has_more = await self._reader.page_after(position, selection)
                    for event in events:
                        with_events.add(event.execution_id)
                        yield of_event(event)
                for message in await self._ends_without_event(open_ids & ended & with_events):
                    yield message
                open_ids -= ended
                continue
            message = await subscription.next(PING_INTERVAL_SECONDS)
            if message is None:
                if not subscription.closed and not subscription.lagging:
                    yield None
            elif _is_new(message, position) and (message.execution_id in open_ids or not by_id):
                position = message.position or position
                yield message

    async def _ends_without_event(self, execution_ids: set[str]) -> list[Message]:
        """Return messages for executions that another program ended without an event."""
        if not execution_ids:
            return []
        messages, _ = await self._reader.snapshots(SubscriptionFilter(frozenset(execution_ids)))
        return messages


def _is_new(message: Message, position: int) -> bool:
    """Return whether a client that has all events up to ``position`` needs the message."""
    return message.position is None or message.position > position
