"""Reading: a question is a function of a connection, asked in one read transaction.

For SQLite it runs in a thread, all of it at one go. An asynchronous driver would go to its thread
and back for every statement, its ``BEGIN`` and its rows: a dozen times for one question, which
costs many times what the question does. PostgreSQL is asked through a connection of the pool.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engines import READ_POOL_SIZE, to_service_error
from engine.errors import StorageError

T = TypeVar("T")

Query = Callable[[Connection], T]
"""Reads, and answers; everything it reads is of one moment."""


class Reader(Protocol):
    """Asks questions."""

    async def run(self, question: Query[T]) -> T:
        """What ``question`` answers.

        Raises:
            StorageError: busy or unusable.
            UnsupportedValueError: it asks for what the database cannot hold.
            Exception: what the question raised.
        """
        ...

    def close(self) -> None:
        """Ends it, after what is being asked."""
        ...


class ThreadedReader:
    """A few threads, each with a connection; may be called from any event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(READ_POOL_SIZE, thread_name_prefix="reader")
        self._closed = False

    async def run(self, question: Query[T]) -> T:
        """See ``Reader``."""
        if self._closed:
            raise StorageError("The database is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, question)

    def _ask(self, question: Query[T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return question(connection)
        except SQLAlchemyError as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Waits for what is being asked; call it from no event loop that others depend on."""
        self._closed = True
        self._threads.shutdown()
        self._engine.dispose()


class PooledReader:
    """Takes a connection of the pool for each question."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(self, question: Query[T]) -> T:
        """See ``Reader``."""
        try:
            async with self._engine.connect() as connection:
                # Else each statement would see a later moment than the one before.
                await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    return await connection.run_sync(question)
        except (SQLAlchemyError, OSError) as error:
            raise to_service_error(error) from error

    def close(self) -> None:
        """Nothing to end; the engine is somebody else's."""
