"""Writer: runs every change, which is a function of a connection, in a transaction.

SQLite has one write lock. Connections that compete for it poll with growing pauses, so that many
writers in one process are many times slower than one. Therefore one thread executes all writes of
the process. Queued changes share a transaction; if one of them fails, each change runs again in a
separate transaction. PostgreSQL has no such lock, so each change takes a connection from the pool.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
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

    async def run(self, change: Write[T]) -> T:
        """Commit a change and return its result. If this raises an error, nothing was stored.

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

    async def run(self, change: Write[T]) -> T:
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


@dataclass(slots=True)
class _Job:
    change: Write[Any]
    future: Future[Any] = field(default_factory=Future[Any])

    def settle(self, result: object, error: BaseException | None) -> None:
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class SingleWriter:
    """Writer with one thread and one connection; any event loop can call it."""

    def __init__(self, engine: Engine, commit_signal: CommitSignal) -> None:
        self._engine = engine
        self._commit_signal = commit_signal
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._closed = False
        self._thread.start()

    async def run(self, change: Write[T]) -> T:
        """See ``Writer``. A change that is cancelled before it starts does not run."""
        if self._closed:
            raise StorageError("The database is closed")
        job = _Job(change)
        self._jobs.put(job)
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Wait for the queued changes; this blocks the calling thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()
            self._engine.dispose()

    def _work(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            if not group:
                continue
            try:
                self._write_group(group)
            except BaseException as error:  # noqa: BLE001 - the thread must outlive every change
                for job in group:
                    if not job.future.done():
                        job.settle(None, error)

    def _next_group(self) -> tuple[list[_Job], bool]:
        """Wait for queued changes; return them and whether the writer closes after them."""
        group: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            if job.future.set_running_or_notify_cancel():
                group.append(job)
            if len(group) == MAX_BATCH_SIZE:
                return group, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write_group(self, group: list[_Job]) -> None:
        if len(group) > 1:
            together = _reporting_changes(
                lambda connection: [job.change(connection) for job in group]
            )
            try:
                results, changes = in_transaction(self._engine, together)
            except Exception as error:  # noqa: BLE001 - each change runs again, alone
                busy = to_service_error(error) if isinstance(error, SQLAlchemyError) else None
                if isinstance(busy, StorageBusyError):
                    # Each change would wait for the same lock again.
                    for job in group:
                        job.settle(None, busy)
                    return
            else:
                for job, result in zip(group, results, strict=True):
                    job.settle(result, None)
                self._commit_signal.send(changes)
                return
        for job in group:
            self._write_alone(job)

    def _write_alone(self, job: _Job) -> None:
        try:
            result, changes = in_transaction(self._engine, _reporting_changes(job.change))
        except SQLAlchemyError as error:
            job.settle(None, to_service_error(error))
        except Exception as error:  # noqa: BLE001 - raised in the caller
            job.settle(None, error)
        else:
            job.settle(result, None)
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
