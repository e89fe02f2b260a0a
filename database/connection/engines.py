"""Engines: opens databases, sets SQLite's pragmas and translates the errors of drivers."""

import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Insert,
    LargeBinary,
    Table,
    cast,
    create_engine,
    event,
    func,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    SQLAlchemyError,
)

from database.connection.urls import open_failure_reason, read_address
from engine.errors import (
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedValueError,
)
from file_modes import create_private

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""Timeout for SQLite's write lock, in milliseconds; the main project's backend uses the same."""
LOCK_POLL_SECONDS = 0.001
"""Pause between two attempts to take the write lock, in seconds. SQLite's own pauses grow to 0.1 s;
a process that writes all the time would then delay the others for up to a second."""

CONNECT_TIMEOUT_SECONDS = 10.0
"""Timeout for a new connection to PostgreSQL, in seconds."""
POOL_TIMEOUT_SECONDS = 20.0
"""Timeout for a free connection of the pool, in seconds."""
POOL_SIZE = 8
"""Maximum number of connections to PostgreSQL of each event loop. They are opened when they are
needed, and stay open."""
COMMAND_TIMEOUT_SECONDS = 20.0
"""Timeout for a statement on PostgreSQL, in seconds. A request that finds the server hanging waits
for a connection, a statement and the end of its transaction."""
IDLE_TRANSACTION_TIMEOUT_MS = 20_000
"""Time after which PostgreSQL ends a transaction without statements, in milliseconds. The open
transaction of a worker whose network was cut would otherwise keep its locks for hours."""

WAL_BYTES = 16 * 1024 * 1024
"""Maximum size of the write-ahead log after a checkpoint, in bytes."""
READ_POOL_SIZE = 4
"""Maximum number of concurrent queries to a SQLite file, besides the brief ones."""
NO_TRANSACTION = "orchestrator_no_transaction"
"""Execution option of queries to a SQLite file that need no ``BEGIN``."""

_PRIMARY_CODE = 0xFF
"""Mask of the primary part of an error code of SQLite."""
_FULL = ("database or disk is full", "no space left", "disk full")
_BUSY = ("database is locked", "database table is locked")
_CONFLICTS = {"40001", "40P01"}
"""PostgreSQL's codes for a transaction that it rolled back because of a conflict with another."""
_UNSUPPORTED_VALUE_CODES = ("22", "54")
"""Prefixes of PostgreSQL's codes for values that a column cannot store."""
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
"""Finds a foreign key to a table that does not exist, for example ``organizations``. With foreign
keys enforced, SQLite would then reject every write to the child table."""


def open_engine(url: str, *, is_timed: bool = True) -> "AsyncEngine":
    """Return an engine for one event loop. It opens its first connection when it needs one.

    With ``is_timed``, a connection and a statement have a timeout, because a server that hangs, or
    a network that drops packets, closes nothing. Parameters of the URL replace the defaults.
    """
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - 7 MB, not for SQLite

    address = read_address(url)
    arguments, pool = address.arguments, {}
    if is_timed:
        timeouts = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
        arguments = {**timeouts, **arguments}
        if not address.is_pooled:  # a pooler rejects settings of a session
            timeout = str(IDLE_TRANSACTION_TIMEOUT_MS)
            arguments["server_settings"] = {"idle_in_transaction_session_timeout": timeout}
        pool = {"pool_timeout": POOL_TIMEOUT_SECONDS}
    try:
        engine = create_async_engine(
            address.url,
            connect_args=arguments,
            pool_size=POOL_SIZE,
            # A connection that is closed after its use must prepare every statement again.
            max_overflow=0,
            pool_use_lifo=True,
            **pool,
        )
    except (SQLAlchemyError, ImportError) as error:
        raise StorageUnavailableError(f"The database's URL cannot be used: {error}") from None
    event.listen(engine.sync_engine, "checkout", _require_open)
    return engine


def _require_open(connection: Any, _record: object, _fairy: object) -> None:
    """Let the pool replace a connection that the server has closed.

    SQLAlchemy's ``pool_pre_ping`` waits for three responses of the server before each transaction.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def open_reading_engine(url: str) -> Engine:
    """Return an engine for the threads that read a SQLite file."""
    return _open_sqlite(url, READ_POOL_SIZE + 1, _begin)


def open_writing_engine(url: str) -> Engine:
    """Return an engine for the one thread that writes to a SQLite file.

    A transaction takes the write lock when it begins, because a transaction that reads first fails
    without waiting if another writer commits before it takes the lock.
    """
    engine = _open_sqlite(url, 1, _begin_immediately)

    def disable_waits(connection: sqlite3.Connection, _record: object) -> None:
        # In another mode, also a COMMIT waits.
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            connection.execute("PRAGMA busy_timeout=0")

    event.listen(engine, "connect", disable_waits)
    return engine


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(NO_TRANSACTION):
        connection.exec_driver_sql("BEGIN")


def _begin_immediately(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    deadline = monotonic() + BUSY_TIMEOUT_MS / 1_000
    while monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                break
        else:
            return
        sleep(LOCK_POLL_SECONDS)
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises the error of SQLAlchemy


def _open_sqlite(url: str, connections: int, begin: Callable[[Connection], None]) -> Engine:
    address = read_address(url)
    engine = create_engine(address.url, pool_size=connections, max_overflow=0)
    file = address.file or Path()

    def connect(dialect: Any, _record: object, positional: Any, named: Any) -> sqlite3.Connection:
        # SQLite would create a file that every user can read. SQLite also copies the mode of the
        # file to its journal files.
        if address.file is not None:
            create_private(address.file)
        try:
            connection = dialect.connect(*positional, **named)
            _prepare_sqlite(connection, address.synchronous)
        except sqlite3.OperationalError as error:
            reason = open_failure_reason(file) if "unable to open" in str(error) else None
            if reason is None:
                raise
            raise sqlite3.OperationalError(f"{error}: {reason}") from None
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, synchronous: str) -> None:
    connection.isolation_level = None  # so that the driver begins no transactions
    connection.text_factory = _decode  # because other programs may store invalid UTF-8
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    if cursor.execute("PRAGMA page_count").fetchone() == (0,):
        # Only an empty file accepts it; on another one it waits for the write lock for nothing.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA synchronous={synchronous}")
    cursor.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    cursor.execute(_MISSING_PARENTS)
    if cursor.fetchone() is None:
        cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _decode(text: bytes) -> str:
    return text.decode(errors="replace")


def byte_length(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the length of a string in UTF-8, in bytes."""
    if connection.dialect.name == "postgresql":
        return func.octet_length(column)
    return func.length(cast(column, LargeBinary))


@functools.cache
def insert_or_ignore(dialect: str, table: Table) -> Insert:
    """Return an ``INSERT`` that skips existing rows, for the dialect with this name."""
    return insert_of(dialect)(table).on_conflict_do_nothing()


def insert_of(dialect: str) -> "Callable[[Table], postgresql.Insert | sqlite.Insert]":
    """Return the function that builds an ``INSERT`` for the dialect with this name."""
    if dialect == "sqlite":
        return sqlite.insert
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 2 MB, not for SQLite

    return postgresql.insert


def is_foreign_key_violation(error: IntegrityError) -> bool:
    """Return whether a row refers to an organization or a workflow that does not exist."""
    return "foreign key" in str(error.orig).lower()


def is_conflict(error: SQLAlchemyError) -> bool:
    """Return whether PostgreSQL rolled the transaction back because of a conflict or deadlock."""
    return _code_of(error) in _CONFLICTS


def _code_of(error: SQLAlchemyError) -> str:
    """Return the SQLSTATE of a PostgreSQL error."""
    return getattr(error.orig, "sqlstate", None) or "" if isinstance(error, DBAPIError) else ""


def in_transaction(engine: Engine, work: "Callable[[Connection], T]") -> T:
    """Return ``work(connection)``, called in a transaction that is committed afterwards."""
    with engine.connect() as connection, connection.begin():
        return work(connection)


def to_service_error(error: SQLAlchemyError | OSError) -> Exception:
    """Return the service's error for a driver's error; an integrity error is not changed."""
    if isinstance(error, TimeoutError):
        return StorageError("The database did not respond in time")
    if isinstance(error, OSError):  # raised by asyncpg if the server is unreachable
        return StorageError(f"The database cannot be reached: {error}")
    if isinstance(error, IntegrityError):
        return error
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    text = cause.lower()
    if isinstance(error, DataError) or _code_of(error).startswith(_UNSUPPORTED_VALUE_CODES):
        return UnsupportedValueError(f"The database cannot store a value: {cause}")
    if any(phrase in text for phrase in _FULL):
        return StorageFullError(f"The disk of the database is full: {cause}")
    if is_conflict(error) or any(phrase in text for phrase in _BUSY):
        return StorageBusyError(f"The database is busy: {cause}")
    if any(phrase in text for phrase in _UNAVAILABLE_CODES):
        return StorageUnavailableError(f"The database cannot be used: {cause}")
    return StorageError(f"The database failed: {cause}")
