"""Subscriptions: a bounded queue of messages for each client, and the index that finds them."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from api.streaming.messages import Message
from database.queries.results import SubscriptionFilter

K = TypeVar("K")

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


class SubscriptionIndex:
    """Subscriptions by execution and by organization; ``None`` stands for all organizations."""

    def __init__(self) -> None:
        self._by_execution: dict[str, set[Subscription]] = {}
        self._by_organization: dict[str | None, set[Subscription]] = {}

    def __iter__(self) -> Iterator[Subscription]:
        """Iterate over all subscriptions, each once."""
        groups = (*self._by_execution.values(), *self._by_organization.values())
        return iter({subscription for group in groups for subscription in group})

    @property
    def execution_ids(self) -> set[str]:
        """The executions to which clients have subscribed by id."""
        return set(self._by_execution)

    @property
    def is_empty(self) -> bool:
        """Whether no client has a subscription."""
        return not self._by_execution and not self._by_organization

    def add(self, subscription: Subscription) -> None:
        """Add a subscription under each of its executions, or under its organization."""
        selection = subscription.selection
        if selection.execution_ids is None:
            self._by_organization.setdefault(selection.organization_id, set()).add(subscription)
        for execution_id in selection.execution_ids or ():
            self._by_execution.setdefault(execution_id, set()).add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        selection = subscription.selection
        if selection.execution_ids is None:
            _discard(self._by_organization, selection.organization_id, subscription)
        for execution_id in selection.execution_ids or ():
            self.remove_execution(subscription, execution_id)

    def remove_execution(self, subscription: Subscription, execution_id: str) -> None:
        """Remove one execution of a subscription."""
        _discard(self._by_execution, execution_id, subscription)

    def has_execution(self, execution_id: str) -> bool:
        """Return whether a client has subscribed to this execution by id. Thread-safe."""
        return execution_id in self._by_execution

    def is_wanted(self, execution_id: str, organization_id: str | None) -> bool:
        """Return whether a subscription receives events of this execution. Thread-safe."""
        return (
            execution_id in self._by_execution
            or None in self._by_organization
            or organization_id in self._by_organization
        )

    def dispatch(self, message: Message, organization_id: str | None) -> None:
        """Push a message to every subscription that receives it."""
        for subscription in (
            *self._by_execution.get(message.execution_id, ()),
            *self._by_organization.get(None, ()),
            *(self._by_organization.get(organization_id, ()) if organization_id else ()),
        ):
            subscription.push(message)

    def push_to_execution(self, message: Message) -> None:
        """Push a message to the subscriptions of its execution, but not of its organization."""
        for subscription in self._by_execution.get(message.execution_id, ()):
            subscription.push(message)


def _discard(index: dict[K, set[Subscription]], key: K, subscription: Subscription) -> None:
    group = index.get(key)
    if group is not None:
        group.discard(subscription)
        if not group:
            del index[key]
