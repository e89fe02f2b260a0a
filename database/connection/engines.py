"""Opening the database: pragmas, transactions, and its errors as the service's."""

import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Integer, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from database.connection.urls import open_failure_reason, read_address
from engine.errors import (
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedValueError,
)
from file_modes import create_private

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another writer; the main project's backend waits as long."""

WAL_BYTES = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint."""
READ_POOL_SIZE = 4
"""How many questions a SQLite file is asked at once."""

_FULL = ("database or disk is full", "no space left", "disk full")
_BUSY = ("database is locked", "database table is locked")
_CONFLICTS = {"40001", "40P01"}
"""PostgreSQL's codes for a transaction that it undid in favour of another one: it works if it is
made again."""
_UNSUPPORTED_VALUE_CODES = ("22", "54")
"""Classes of its codes for values that do not fit, or are too large: trying again is in vain."""
_UNAVAILABLE_CODES = (
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


def open_engine(url: str) -> AsyncEngine:
    """An engine for one event loop. Nothing is opened before its first connection."""
    address = read_address(url)
    try:
        return create_async_engine(address.url, connect_args=address.arguments, pool_pre_ping=True)
    except (SQLAlchemyError, ImportError) as error:
        raise StorageUnavailableError(f"The database's URL cannot be used: {error}") from None


def open_reading_engine(url: str) -> Engine:
    """An engine for the threads that read a SQLite file."""
    return _open_sqlite(url, READ_POOL_SIZE, _begin_reading)


def open_writing_engine(url: str) -> Engine:
    """An engine for the one thread that writes to a SQLite file.

    A transaction takes the write lock as it begins: one that reads first and locks later fails at
    once, without waiting, when another writer came between.
    """
    return _open_sqlite(url, 1, _begin_writing)


def _open_sqlite(url: str, connections: int, begin: Callable[[Connection], None]) -> Engine:
    address = read_address(url)
    engine = create_engine(address.url, pool_size=connections, max_overflow=0)
    file = address.file or Path()

    def connect(dialect: Any, _record: object, positional: Any, named: Any) -> sqlite3.Connection:
        # SQLite would create a database that every user can read. It gives the files beside it
        # the mode of the database.
        if address.file is not None:
            create_private(address.file)
        try:
            connection = dialect.connect(*positional, **named)
            _prepare_sqlite(connection)
        except sqlite3.OperationalError as error:
            reason = open_failure_reason(file) if "unable to open" in str(error) else None
            if reason is None:
                raise
            raise sqlite3.OperationalError(f"{error}: {reason}") from None
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None  # the driver shall not begin transactions by itself
    connection.text_factory = _decode  # what others wrote may be no Unicode; it is read anyway
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heard only by a file that is still empty
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    cursor.execute(_MISSING_PARENTS)
    if cursor.fetchone() is None:
        cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _decode(text: bytes) -> str:
    return text.decode(errors="replace")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class byte_length(FunctionElement[int]):  # noqa: N801 - named like the functions of SQL
    """The length of a text in UTF-8, in bytes."""

    type = Integer()
    inherit_cache = True
    name = "byte_length"


@compiles(byte_length, "postgresql")
def _octet_length(element: byte_length, compiler: SQLCompiler, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(byte_length)
def _length_of_blob(element: byte_length, compiler: SQLCompiler, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


def insert_or_ignore(connection: Connection, table: Table) -> Insert:
    """The ``INSERT`` that passes over rows that are there, in this database's dialect."""
    return _insert_or_ignore(connection.dialect.name, table)


@functools.cache
def _insert_or_ignore(dialect: str, table: Table) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()


def is_foreign_key_violation(error: IntegrityError) -> bool:
    """Whether a row was refused for what it refers to: an organization, a workflow."""
    return "foreign key" in str(error.orig).lower()


def is_conflict(error: SQLAlchemyError) -> bool:
    """Whether PostgreSQL undid the transaction in favour of another one, as in a deadlock."""
    return _code_of(error) in _CONFLICTS


def _code_of(error: SQLAlchemyError) -> str:
    """PostgreSQL's code of an error, its SQLSTATE."""
    return getattr(error.orig, "sqlstate", None) or "" if isinstance(error, DBAPIError) else ""


def to_service_error(error: SQLAlchemyError | OSError) -> Exception:
    """A driver's error as one of the service's; an integrity error stays what it is."""
    if isinstance(error, OSError):  # asyncpg's own, of a server that is not there
        return StorageError(f"The database cannot be reached: {error}")
    if isinstance(error, IntegrityError):
        return error
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    text = cause.lower()
    if isinstance(error, DataError) or _code_of(error).startswith(_UNSUPPORTED_VALUE_CODES):
        return UnsupportedValueError(f"The database does not take a value: {cause}")
    if any(phrase in text for phrase in _FULL):
        return StorageFullError(f"The disk of the database is full: {cause}")
    if is_conflict(error) or any(phrase in text for phrase in _BUSY):
        return StorageBusyError(f"The database is busy: {cause}")
    if any(phrase in text for phrase in _UNAVAILABLE_CODES):
        return StorageUnavailableError(f"The database cannot be used: {cause}")
    return StorageError(f"The database failed: {cause}")
