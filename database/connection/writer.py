"""Writing: every change is a function of a connection, run in a transaction of its own.

SQLite has one write lock. Connections that compete for it poll with growing pauses, so that many
writers in one process are many times slower than one. Here all writes of the process go through one
thread: what has queued up meanwhile shares a transaction, and where one of the changes fails, each
is made again in one of its own. PostgreSQL has no such lock; there each change takes a connection
of the pool.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.commit_signal import HAS_EVENTS, CommitSignal
from database.connection.engines import is_conflict, to_service_error
from engine.errors import StorageBusyError, StorageError

T = TypeVar("T")

Write = Callable[[Connection], T]
"""One change of state. It is run again when its transaction did not come about."""

MAX_BATCH_SIZE = 100
MAX_ATTEMPTS = 5
"""How often a change is made that PostgreSQL undoes in favour of others. After a second
(``deadlock_timeout``) it finds out that two wait for each other, and one of them goes on."""


class Writer(Protocol):
    """Runs changes, each all or nothing."""

    async def run(self, change: Write[T]) -> T:
        """What ``change`` returns, once it is committed.

        Raises:
            StorageError: busy, full or unusable; nothing of the change was stored.
            UnsupportedValueError: a value does not fit; nothing of the change was stored.
            Exception: what the change raised; nothing of it was stored.
        """
        ...

    def close(self) -> None:
        """Ends it, after what is queued."""
        ...


@dataclass(frozen=True, slots=True)
class PooledWriter:
    """Takes a connection of the pool for each change."""

    engine: AsyncEngine
    commit_signal: CommitSignal

    async def run(self, change: Write[T]) -> T:
        """See ``Writer``."""
        tries = 0
        while True:
            tries += 1
            try:
                async with self.engine.begin() as connection:
                    result, noted = await connection.run_sync(_reporting_events(change))
            except (SQLAlchemyError, OSError) as error:
                undone = isinstance(error, SQLAlchemyError) and is_conflict(error)
                if not undone or tries == MAX_ATTEMPTS:
                    raise to_service_error(error) from error
            else:
                break
        if noted:
            self.commit_signal.send()
        return result

    def close(self) -> None:
        """Nothing to end; the engine is somebody else's."""


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
    """One thread, one connection; may be called from any event loop."""

    def __init__(self, engine: Engine, commit_signal: CommitSignal) -> None:
        self._engine = engine
        self._commit_signal = commit_signal
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._closed = False
        self._thread.start()

    async def run(self, change: Write[T]) -> T:
        """See ``Writer``. A change that is cancelled before it began is not made."""
        if self._closed:
            raise StorageError("The database is closed")
        job = _Job(change)
        self._jobs.put(job)
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Waits for what is queued; call it from no event loop that others depend on."""
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
        """What is queued, waiting for a first one; and whether the end came after it."""
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
            together = _reporting_events(
                lambda connection: [job.change(connection) for job in group]
            )
            try:
                with self._engine.connect() as connection, connection.begin():
                    results, noted = together(connection)
            except Exception as error:  # noqa: BLE001 - to each change its own transaction and error
                busy = to_service_error(error) if isinstance(error, SQLAlchemyError) else None
                if isinstance(busy, StorageBusyError):
                    # Each alone would wait as long again.
                    for job in group:
                        job.settle(None, busy)
                    return
            else:
                for job, result in zip(group, results, strict=True):
                    job.settle(result, None)
                if noted:
                    self._commit_signal.send()
                return
        for job in group:
            self._write_alone(job)

    def _write_alone(self, job: _Job) -> None:
        try:
            with self._engine.connect() as connection, connection.begin():
                result, noted = _reporting_events(job.change)(connection)
        except SQLAlchemyError as error:
            job.settle(None, to_service_error(error))
        except Exception as error:  # noqa: BLE001 - carried over to the caller
            job.settle(None, error)
        else:
            job.settle(result, None)
            if noted:
                self._commit_signal.send()


def _reporting_events(change: Write[T]) -> Write[tuple[T, bool]]:
    """``change``, which says besides whether it noted events."""

    def run(connection: Connection) -> tuple[T, bool]:
        connection.info.pop(HAS_EVENTS, None)
        return change(connection), connection.info.pop(HAS_EVENTS, False)

    return run
