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
        self._queue: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._lagging = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the service closed the subscription."""
        return self._closed

    @property
    def lagging(self) -> bool:
        """Whether messages were dropped since the last ``catch_up``."""
        return self._lagging

    @property
    def size(self) -> int:
        """The number of queued messages."""
        return len(self._queue)

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
        self._lagging = True

    def catch_up(self) -> None:
        """Mark the dropped messages as read; call it before reading the journal."""
        self._lagging = False

    def close(self) -> None:
        """End the stream of the client immediately."""
        self._closed = True
        self._changed.set()

    async def next(self, timeout_seconds: float) -> Message | None:
        """Return the next message; ``None`` after the timeout, if closed, or if ``lagging``."""
        if not self._queue and not self._closed and not self._lagging:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._changed.wait()
            except TimeoutError:
                return None
        if self._closed or self._lagging or not self._queue:
            return None
        return self._queue.popleft()
