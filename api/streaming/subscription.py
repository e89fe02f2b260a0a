"""Subscription: a bounded queue of messages for one client."""

import asyncio
from collections import deque

from api.streaming.messages import Message
from database.queries.results import SubscriptionFilter

QUEUE_SIZE = 64
"""Maximum number of queued messages of a client. It reads later ones from the journal."""


class Subscription:
    """Messages for one client. Not thread-safe: use it in one event loop."""

    def __init__(self, selection: SubscriptionFilter) -> None:
        self.selection = selection
        self.closed = False
        """Whether the service closed the subscription."""
        self.lagging = False
        """Whether messages were dropped since the last ``catch_up``."""
        self._queue: deque[Message] = deque()
        self._changed = asyncio.Event()

    def push(self, message: Message) -> None:
        """Queue a message, or drop all messages if the queue is full. Never waits."""
        if len(self._queue) < QUEUE_SIZE:
            self._queue.append(message)
        elif message.position is not None:  # the journal does not contain the others
            self.mark_lagging()
        self._changed.set()

    def mark_lagging(self) -> None:
        """Drop the queued messages, so that the client reads them from the journal."""
        self._queue.clear()
        self.lagging = True

    def catch_up(self) -> None:
        """Mark the dropped messages as read; call it before reading the journal."""
        self.lagging = False

    def close(self) -> None:
        """End the stream of the client immediately."""
        self.closed = True
        self._changed.set()

    async def next(self, timeout_seconds: float) -> Message | None:
        """Return the next message; ``None`` after the timeout, if closed, or if ``lagging``."""
        if not self._queue and not self.closed and not self.lagging:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._changed.wait()
            except TimeoutError:
                return None
        if self.closed or self.lagging or not self._queue:
            return None
        return self._queue.popleft()
