"""One client's share of what is handed out: bounded, whatever the client does."""

import asyncio
from collections import deque

from api.streaming.messages import Message
from database.queries.results import SubscriptionFilter

QUEUE_SIZE = 64
"""Messages that wait for one client. Past that they are dropped: it reads the journal instead."""


class Subscription:
    """Messages on their way to one client. Used in one event loop."""

    def __init__(self, interest: SubscriptionFilter) -> None:
        self.interest = interest
        self._waiting: deque[Message] = deque()
        self._news = asyncio.Event()
        self._behind = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the service wants the client to go."""
        return self._closed

    @property
    def behind(self) -> bool:
        """Whether messages were dropped since the last ``catch_up``."""
        return self._behind

    def offer(self, message: Message) -> None:
        """Hands a message out; never waits."""
        if len(self._waiting) < QUEUE_SIZE:
            self._waiting.append(message)
        elif message.position is not None:  # what stands in no journal is gone
            self.fall_behind()
        self._news.set()

    def fall_behind(self) -> None:
        """Drops what waits: the client has to read the journal."""
        self._waiting.clear()
        self._behind = True

    def catch_up(self) -> None:
        """The journal will be read now; what was dropped stands there."""
        self._behind = False

    def close(self) -> None:
        """Sends the client away, now."""
        self._closed = True
        self._news.set()

    async def next(self, seconds: float) -> Message | None:
        """The next message; ``None`` after ``seconds`` without one, when closed or ``behind``."""
        if not self._waiting and not self._closed and not self._behind:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return None
        if self._closed or self._behind or not self._waiting:
            return None
        return self._waiting.popleft()
