"""Event reader: reads events and snapshots for clients, and retries while the database is busy."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from api.streaming.messages import Message, of_deleted, of_snapshot
from database.queries.event_feed import EventFeed
from database.queries.results import (
    Event,
    ExecutionChange,
    ExecutionSnapshot,
    SubscriptionFilter,
)
from engine.errors import ExecutionNotFoundError
from flows.storage_retry import retry_while_unavailable
from offload import run_sized

T = TypeVar("T")

PAGE_SIZE = 100
"""Maximum number of events of one query."""
LOG_CHARS_ESTIMATE = 500
"""Approximate size of a node run in a message without its payloads, in characters."""


class EventReader:
    """Reads from the event feed. Every method waits until the database is available."""

    def __init__(self, feed: EventFeed, retry_seconds: float) -> None:
        self._feed = feed
        self._retry_seconds = retry_seconds

    async def position(self) -> int:
        """Return the position of the last event."""
        return await self._retry_while_unavailable(self._feed.last_position)

    async def page_after(
        self, position: int, selection: SubscriptionFilter
    ) -> tuple[list[Event], int, bool]:
        """Return a page of events; see ``EventFeed.read_after``."""
        return await self._retry_while_unavailable(
            lambda: self._feed.read_after(position, selection, PAGE_SIZE)
        )

    async def ended(self, execution_ids: Collection[str]) -> set[str]:
        """Return those of these executions that have ended or were deleted."""
        if not execution_ids:
            return set()
        changes = await self.last_changes(execution_ids)
        return {i for i in execution_ids if i not in changes or changes[i].has_ended}

    async def snapshots(self, selection: SubscriptionFilter) -> tuple[list[Message], int]:
        """Return messages with the state of the executions, and the position that they cover.

        Only the last message has that position, so that a client that is disconnected between two
        of them receives all of them again.
        """
        requested, deleted = selection.execution_ids or frozenset[str](), list[str]()
        while True:
            try:
                snapshots, position = await self._retry_while_unavailable(
                    lambda chosen=selection: self._feed.snapshots(chosen)
                )
            except ExecutionNotFoundError:  # deleted since the client subscribed
                existing = frozenset(await self.last_changes(requested))
                deleted = sorted(requested - existing)
                selection = SubscriptionFilter(existing, selection.organization_id)
            else:
                messages = await snapshot_messages(snapshots, position)
                return [*map(of_deleted, deleted), *messages], position

    async def last_changes(self, execution_ids: Collection[str]) -> dict[str, ExecutionChange]:
        """Return the last changes of those of these executions that exist."""
        return await self._retry_while_unavailable(lambda: self._feed.last_changes(execution_ids))

    async def _retry_while_unavailable(self, read: Callable[[], Awaitable[T]]) -> T:
        pause = self._retry_seconds
        return await retry_while_unavailable(
            read, "reading events", first_pause=pause, max_pause=pause
        )


async def snapshot_messages(
    snapshots: Sequence[ExecutionSnapshot], position: int | None
) -> list[Message]:
    """Return the messages of snapshots; the last one has the position.

    Large ones are encoded in a thread, because a snapshot can have thousands of node runs.
    """
    return await run_sized(_estimated_size(snapshots), _encoded_messages, snapshots, position)


def _estimated_size(snapshots: Sequence[ExecutionSnapshot]) -> int:
    """Return the approximate number of characters in the messages of these snapshots."""
    logs = [log for snapshot in snapshots for log in snapshot.logs]
    payloads = [payload for log in logs for payload in (log.input_data, log.output_data)]
    characters = sum(len(payload.text) for payload in payloads if payload is not None)
    return characters + LOG_CHARS_ESTIMATE * (len(logs) + len(snapshots))


def _encoded_messages(
    snapshots: Sequence[ExecutionSnapshot], position: int | None
) -> list[Message]:
    messages = [of_snapshot(snapshot, None) for snapshot in snapshots[:-1]]
    messages += [of_snapshot(snapshot, position) for snapshot in snapshots[-1:]]
    for message in messages:
        _ = message.text  # encodes the message in this thread
    return messages
