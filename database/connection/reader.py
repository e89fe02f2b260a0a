"""Reader: runs queries, which are functions of a connection, in one read transaction each.

For SQLite, a whole query runs in a thread. An asynchronous driver would switch threads for every
statement, its ``BEGIN`` and its rows, which costs many times more than the query itself. For
PostgreSQL, a query takes a connection from the pool. A query that needs no snapshot is not enclosed
in ``BEGIN`` and ``COMMIT``, each of which PostgreSQL must answer.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import greenlet_spawn

from database.connection.engines import (
    NO_TRANSACTION,
    READ_POOL_SIZE,
    in_transaction,
    to_service_error,
)
from database.connection.pending_work import Outcome, PendingWork, settle
from engine.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

Query = Callable[[Connection], T]
"""A function that reads from one consistent snapshot."""


class Reader(Protocol):
    """Runs queries."""

    async def run(self, query: Query[T], *, snapshot: bool = True, brief: bool = False) -> T:
        """Return the result of a query.

        Without ``snapshot``, each statement reads the newest rows. This is for queries of one
        statement, and for those whose statements may see later rows than the ones before. On
        SQLite, ``brief`` queries, which read a few rows by their keys, share a thread.

        Raises:
            StorageError: If the database is busy or unavailable.
            UnsupportedValueError: If the database cannot store a value of the query.
            Exception: If the query raised it.
        """
        ...

    def close(self) -> None:
        """Close the connections after the queries in progress."""
        ...


class ThreadedReader:
    """Reader with a few threads and one connection each; any event loop can call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = engine.execution_options(**{NO_TRANSACTION: True})
        self._threads = ThreadPoolExecutor(READ_POOL_SIZE, thread_name_prefix="reader")
        self._brief = _BriefReader(engine)
        self._closed = False

    async def run(self, query: Query[T], *, snapshot: bool = True, brief: bool = False) -> T:
        """See ``Reader``."""
        if self._closed:
            raise StorageError("The database is closed")
        if brief:
            return await self._brief.run(query)
        loop = asyncio.get_running_loop()
        engine = self._engine if snapshot else self._statements
        return await loop.run_in_executor(self._threads, self._run, engine, query)

    @staticmethod
    def _run(engine: Engine, query: Query[T]) -> T:
        try:
            return in_transaction(engine, query)
        except SQLAlchemyError as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Wait for the queries in progress; this blocks the calling thread."""
        self._closed = True
        self._brief.close()
        self._threads.shutdown()
        self._engine.dispose()


class _BriefReader:
    """Runs all waiting brief queries in one transaction, in a thread of its own.

    Many clients that poll would otherwise keep several threads busy, and each of these takes the
    interpreter lock from the executions.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queued: queue.SimpleQueue[PendingWork[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="reader-brief", daemon=True)
        self._thread.start()

    async def run(self, query: Query[T]) -> T:
        """Return the result of a query."""
        work = PendingWork(query)
        self._queued.put(work)
        return await work.future

    def close(self) -> None:
        """Wait for the queries; this blocks the calling thread."""
        self._queued.put(None)
        self._thread.join()

    def _work(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            settle(self._outcomes_of(group))

    def _outcomes_of(self, group: list[PendingWork[Any]]) -> list[Outcome]:
        def read(connection: Connection) -> list[Outcome]:
            return [_outcome_of(work, connection) for work in group]

        try:
            return in_transaction(self._engine, read)
        except BaseException as error:  # noqa: BLE001 - raised in the callers
            return [Outcome(work, error=_as_service_error(error)) for work in group]

    def _next_group(self) -> tuple[list[PendingWork[Any]], bool]:
        """Wait for queries; return them and whether the reader closes after them."""
        group: list[PendingWork[Any]] = []
        work = self._queued.get()
        while work is not None:
            if work.is_wanted:
                group.append(work)
            try:
                work = self._queued.get_nowait()
            except queue.Empty:
                return group, False
        return group, True


def _outcome_of(work: PendingWork[Any], connection: Connection) -> Outcome:
    try:
        return Outcome(work, work.function(connection))
    except BaseException as error:  # noqa: BLE001 - raised in the caller
        return Outcome(work, error=_as_service_error(error))


def _as_service_error(error: BaseException) -> BaseException:
    return to_service_error(error) if isinstance(error, SQLAlchemyError) else error


class PooledReader:
    """Reader that takes a connection from the pool for each query."""

    def __init__(self, engine: "AsyncEngine") -> None:
        # Otherwise each statement would read a later snapshot than the one before.
        self._engine = engine.sync_engine.execution_options(isolation_level="REPEATABLE READ")
        self._statements = engine.sync_engine.execution_options(isolation_level="AUTOCOMMIT")

    async def run(
        self,
        query: Query[T],
        *,
        snapshot: bool = True,
        brief: bool = False,  # noqa: ARG002
    ) -> T:
        """See ``Reader``."""
        engine = self._engine if snapshot else self._statements
        try:
            return await greenlet_spawn(in_transaction, engine, query)
        except (SQLAlchemyError, OSError) as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Do nothing, because the owner of the engine closes it."""
