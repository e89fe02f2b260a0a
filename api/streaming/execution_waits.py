"""Execution waits: requests that wait until an execution changes or ends.

The journal tail notifies them, so that a waiting request needs no thread and no query.
"""

import asyncio
from dataclasses import dataclass

from database.queries.results import ExecutionChange


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionWait:
    """A request that waits until ``seq`` exceeds ``after_seq``, or else until the end."""

    execution_id: str
    after_seq: int | None
    """``None`` to wait for the end of the execution only."""
    done: asyncio.Future[None]

    def notify(self, change: ExecutionChange) -> None:
        """End the wait if the request waits for this change."""
        is_later = self.after_seq is not None and change.seq > self.after_seq
        if change.has_ended or is_later:
            self.end()

    def end(self) -> None:
        """End the wait."""
        if not self.done.done():
            self.done.set_result(None)


class ExecutionWaits:
    """The waiting requests by execution. Used in one event loop."""

    def __init__(self) -> None:
        self._by_execution: dict[str, set[ExecutionWait]] = {}
        self._closed = False

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return sum(map(len, self._by_execution.values()))

    @property
    def execution_ids(self) -> set[str]:
        """The executions for which requests wait."""
        return set(self._by_execution)

    def add(self, execution_id: str, after_seq: int | None) -> ExecutionWait:
        """Add a request, and return its wait; remove it after the wait."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait = ExecutionWait(execution_id, after_seq, done)
        self._by_execution.setdefault(execution_id, set()).add(wait)
        if self._closed:
            wait.end()
        return wait

    def remove(self, wait: ExecutionWait) -> None:
        """Remove a request."""
        group = self._by_execution[wait.execution_id]
        group.discard(wait)
        if not group:
            del self._by_execution[wait.execution_id]

    def notify(self, change: ExecutionChange) -> None:
        """End the waits for this change."""
        for wait in self._by_execution.get(change.execution_id, ()):
            wait.notify(change)

    def notify_deleted(self, execution_id: str) -> None:
        """End the waits for a deleted execution."""
        for wait in self._by_execution.get(execution_id, ()):
            wait.end()

    def close(self) -> None:
        """End every wait now, and every wait that is added later."""
        self._closed = True
        for execution_id in self._by_execution:
            self.notify_deleted(execution_id)
