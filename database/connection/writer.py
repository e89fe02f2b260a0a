"""Writer: runs every change, which is a function of a connection, in a transaction.

SQLite has one write lock. Connections that compete for it poll with growing pauses, so that many
writers in one process are many times slower than one. Therefore one thread executes all writes of
the process. Queued changes share a transaction; if one of them fails, each change runs again in a
separate transaction. Submissions do not wait for queued steps of executions. PostgreSQL has no such
lock, so each change takes a connection from the pool.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import greenlet_spawn

from database.connection.commit_signal import (
    CHANGES,
    Change,
    CommitSignal,
    TransactionChanges,
)
from database.connection.engines import in_transaction, is_conflict, to_service_error
from database.connection.pending_work import Outcome, PendingWork, settle
from engine.errors import StorageBusyError, StorageError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

Write = Callable[[Connection], T]
"""One state change. It runs again if its transaction was not committed."""

MAX_BATCH_SIZE = 100
"""Maximum number of changes in one transaction."""
MAX_ATTEMPTS = 5
"""Maximum number of attempts if PostgreSQL rolls a transaction back because of a conflict."""


class Writer(Protocol):
    """Runs changes atomically."""

    async def run(self, change: Write[T], *, urgent: bool = False) -> T:
        """Commit a change and return its result. If this raises an error, nothing was stored.

        On SQLite, an ``urgent`` change, for which a client waits, is committed before the changes
        of executions that wait too.

        Raises:
            StorageError: If the database is busy, full or unavailable.
            UnsupportedValueError: If the database cannot store a value.
            Exception: If the change raised it.
        """
        ...

    def close(self) -> None:
        """Close the connection after the queued changes."""
        ...


@dataclass(frozen=True, slots=True)
class PooledWriter:
    """Writer that takes a connection from the pool for each change."""

    engine: "AsyncEngine"
    commit_signal: CommitSignal

    async def run(self, change: Write[T], *, urgent: bool = False) -> T:  # noqa: ARG002 - no queue
        """See ``Writer``."""
        attempts = 0
        while True:
            attempts += 1
            try:
                reporting = _reporting_changes(change, self.commit_signal.id)
                result, changes = await greenlet_spawn(
                    in_transaction, self.engine.sync_engine, reporting
                )
            except (SQLAlchemyError, OSError) as error:
                conflict = isinstance(error, SQLAlchemyError) and is_conflict(error)
                if not conflict or attempts == MAX_ATTEMPTS:
                    raise to_service_error(error) from error
            else:
                break
        self.commit_signal.send(changes)
        return result

    def close(self) -> None:
        """Do nothing, because the owner of the engine closes it."""


class SingleWriter:
    """Writer with one thread and one connection; any event loop can call it."""

    def __init__(self, engine: Engine, commit_signal: CommitSignal) -> None:
        self._engine = engine
        self._commit_signal = commit_signal
        self._queued: queue.SimpleQueue[tuple[PendingWork[Any], bool] | None] = queue.SimpleQueue()
        self._urgent: deque[PendingWork[Any]] = deque()
        self._others: deque[PendingWork[Any]] = deque()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._closed = False
        self._thread.start()

    async def run(self, change: Write[T], *, urgent: bool = False) -> T:
        """See ``Writer``. A change that is cancelled before it starts does not run."""
        if self._closed:
            raise StorageError("The database is closed")
        job = PendingWork(change)
        self._queued.put((job, urgent))
        return await job.future

    def close(self) -> None:
        """Wait for the queued changes; this blocks the calling thread."""
        if not self._closed:
            self._closed = True
            self._queued.put(None)
            self._thread.join()
            self._engine.dispose()

    def _work(self) -> None:
        closing, urgent = False, False
        while not closing or self._urgent or self._others:
            closing = self._receive(closing=closing) or closing
            # In turn, so that a series of submissions does not stop the executions.
            urgent = bool(self._urgent) and not (urgent and self._others)
            waiting = self._urgent if urgent else self._others
            group = [waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH_SIZE))]
            group = [job for job in group if job.is_wanted]
            if group:
                self._write_group(group)

    def _receive(self, *, closing: bool) -> bool:
        """Distribute the queued changes; wait for one if none is known.

        Returns:
            Whether the writer closes after the changes so far.
        """
        try:
            while True:
                known = closing or self._urgent or self._others
                received = self._queued.get_nowait() if known else self._queued.get()
                if received is None:
                    return True
                job, urgent = received
                (self._urgent if urgent else self._others).append(job)
        except queue.Empty:
            return False

    def _write_group(self, group: list[PendingWork[Any]]) -> None:
        if len(group) > 1:
            together = _reporting_changes(
                lambda connection: [job.function(connection) for job in group]
            )
            try:
                results, changes = in_transaction(self._engine, together)
            except BaseException as error:  # noqa: BLE001 - each change runs again, alone
                busy = to_service_error(error) if isinstance(error, SQLAlchemyError) else None
                if isinstance(busy, StorageBusyError):
                    # Each change would wait for the same lock again.
                    settle(Outcome(job, error=busy) for job in group)
                    return
            else:
                settle(Outcome(*pair) for pair in zip(group, results, strict=True))
                self._commit_signal.send(changes)
                return
        for job in group:
            self._write_alone(job)

    def _write_alone(self, job: PendingWork[Any]) -> None:
        try:
            result, changes = in_transaction(self._engine, _reporting_changes(job.function))
        except SQLAlchemyError as error:
            settle([Outcome(job, error=to_service_error(error))])
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            settle([Outcome(job, error=error)])
        else:
            settle([Outcome(job, result)])
            self._commit_signal.send(changes)


def _reporting_changes(
    change: Write[T], notified_as: str | None = None
) -> Write[tuple[T, Set[Change]]]:
    """Return a change that also returns what the transaction signals.

    With ``notified_as``, the transaction also notifies the other processes, under this id.
    """

    def run(connection: Connection) -> tuple[T, Set[Change]]:
        changes = connection.info[CHANGES] = TransactionChanges(notified_as or "")
        result = change(connection)
        if notified_as is not None:
            changes.notify(connection)
        return result, changes.noted

    return run
