"""Opening the database: pragmas, transactions, and its errors as the service's."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.errors import StorageBusyError, StorageError, StorageFullError, StorageUnusableError

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another writer; the main project's backend waits as long."""

_FULL = ("database or disk is full", "no space left", "disk full")
_BUSY = ("database is locked", "database table is locked", "deadlock detected")
_UNUSABLE = (
    "file is not a database",
    "readonly database",
    "unable to open database file",
    "malformed",
    "not authorized",
)


_MISSING_PARENTS = """
    SELECT 1 FROM sqlite_master AS child, pragma_foreign_key_list(child.name) AS reference
    WHERE child.type = 'table'
      AND child.name IN ('workflows', 'workflow_executions', 'execution_logs')
      AND NOT EXISTS (SELECT 1 FROM sqlite_master AS parent
                      WHERE parent.type = 'table' AND lower(parent.name) = lower(reference."table"))
    LIMIT 1
"""
"""Finds a foreign key onto a table that is not there (``organizations`` may not be). With foreign
keys enforced, SQLite would then refuse every write to the child, whatever it writes."""


def is_sqlite(url: str) -> bool:
    """Whether ``url`` names a SQLite file."""
    return url.startswith("sqlite")


def open_engine(url: str) -> AsyncEngine:
    """An engine for one event loop. Nothing is opened before its first connection."""
    if not is_sqlite(url):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, pool_size=8, max_overflow=8)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_reading)
    return engine


def open_writing_engine(url: str) -> Engine:
    """An engine for the one thread that writes to a SQLite file.

    A transaction takes the write lock as it begins: one that reads first and locks later fails at
    once, without waiting, when another writer came between.
    """
    engine = create_engine(make_url(url).set(drivername="sqlite"), pool_size=1, max_overflow=0)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_writing)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver shall not begin transactions by itself
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(_MISSING_PARENTS)
    if cursor.fetchone() is None:
        cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """One read transaction: everything read in the block is of one moment.

    Raises:
        StorageError: busy or unusable.
    """
    try:
        async with engine.connect() as connection, connection.begin():
            yield connection
    except SQLAlchemyError as error:
        raise translate(error) from error


def insert_for(connection: Connection) -> Callable[[Table], sqlite.Insert | postgresql.Insert]:
    """The ``INSERT`` of this database's dialect, which knows ``ON CONFLICT``."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def translate(error: SQLAlchemyError) -> Exception:
    """A driver's error as one of the service's; an integrity error stays what it is."""
    if isinstance(error, IntegrityError):
        return error
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    text = cause.lower()
    if any(phrase in text for phrase in _FULL):
        return StorageFullError(f"The disk of the database is full: {cause}")
    if any(phrase in text for phrase in _BUSY):
        return StorageBusyError(f"The database is busy: {cause}")
    if any(phrase in text for phrase in _UNUSABLE):
        return StorageUnusableError(f"The database cannot be used: {cause}")
    return StorageError(f"The database failed: {cause}")
