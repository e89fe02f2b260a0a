"""Reader: runs queries, which are functions of a connection, in one read transaction each.

For SQLite, a whole query runs in a thread. An asynchronous driver would switch threads for every
statement, its ``BEGIN`` and its rows, which costs many times more than the query itself. For
PostgreSQL, a query takes a connection from the pool.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from database.connection.engines import READ_POOL_SIZE, to_service_error
from engine.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

Query = Callable[[Connection], T]
"""A function that reads from one consistent snapshot."""


class Reader(Protocol):
    """Runs queries."""

    async def run(self, query: Query[T]) -> T:
        """Return the result of a query.

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
        self._threads = ThreadPoolExecutor(READ_POOL_SIZE, thread_name_prefix="reader")
        self._closed = False

    async def run(self, query: Query[T]) -> T:
        """See ``Reader``."""
        if self._closed:
            raise StorageError("The database is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, query)

    def _run(self, query: Query[T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return query(connection)
        except SQLAlchemyError as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Wait for the queries in progress; this blocks the calling thread."""
        self._closed = True
        self._threads.shutdown()
        self._engine.dispose()


class PooledReader:
    """Reader that takes a connection from the pool for each query."""

    def __init__(self, engine: "AsyncEngine") -> None:
        self._engine = engine

    async def run(self, query: Query[T]) -> T:
        """See ``Reader``."""
        try:
            async with self._engine.connect() as connection:
                # Otherwise each statement would read a later snapshot than the one before.
                await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    return await connection.run_sync(query)
        except (SQLAlchemyError, OSError) as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Do nothing, because the owner of the engine closes it."""
