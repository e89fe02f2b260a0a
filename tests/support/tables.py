"""Tables: direct SQL access to the service's database, for SQLite and PostgreSQL."""

import asyncio
import atexit
import re
import sqlite3
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from functools import cache
from itertools import count
from typing import Any, Protocol, TypeVar

import asyncpg
from asyncpg.exceptions import AdminShutdownError as AdminShutdown
from sqlalchemy import make_url

T = TypeVar("T")


class Row(Protocol):
    """A row whose columns are read by name or by position."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> Any: ...


class Tables(Protocol):
    """Access through a separate connection. SQL is written as for SQLite."""

    def rows(self, sql: str, *values: object) -> list[Row]: ...

    def write(self, sql: str, *values: object) -> None: ...


class SqliteTables:
    """Tables of a SQLite file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def rows(self, sql: str, *values: object) -> list[Row]:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            connection.execute(sql, values)


class PostgresTables:
    """Tables of a PostgreSQL database. All objects use the connection of ``_Connection``."""

    def __init__(self, url: str) -> None:
        self._dsn = url.replace("+asyncpg", "")

    def rows(self, sql: str, *values: object) -> list[Row]:
        return _shared_connection().fetch(self._dsn, in_postgres(sql), *values)

    def write(self, sql: str, *values: object) -> None:
        self.rows(sql, *values)


class _Connection:
    """One connection to the database that was used last, because many tests poll their database.

    A new connection for each query starts a process of the server. It may be used in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dsn = ""
        self._open: asyncpg.Connection | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def fetch(self, dsn: str, sql: str, *values: object) -> list[Row]:
        """Run a statement; repeat it if another test has ended the connection."""
        with self._lock:
            try:
                return self._run(self._fetch(dsn, sql, *values))
            except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, AdminShutdown):
                self._run(self._disconnect())
                return self._run(self._fetch(dsn, sql, *values))

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            self._run(self._disconnect())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _fetch(self, dsn: str, sql: str, *values: object) -> list[Row]:
        connection = self._open
        if connection is None or connection.is_closed() or dsn != self._dsn:
            await self._disconnect()
            # Without prepared statements, because the next test may change the schema.
            connection = await asyncpg.connect(dsn, statement_cache_size=0)
            self._open, self._dsn = connection, dsn
        return await connection.fetch(sql, *values)

    async def _disconnect(self) -> None:
        if self._open is not None:
            self._open.terminate()
        self._open = None


@cache
def _shared_connection() -> _Connection:
    return _Connection()


def tables_of(url: str) -> Tables:
    """Return the tables of the database with this SQLAlchemy URL."""
    name = make_url(url).database
    return SqliteTables(str(name)) if url.startswith("sqlite") else PostgresTables(url)


_TOKENS = re.compile(r"'[^']*'|\"[^\"]*\"|\?|\b[a-z]+[A-Z]\w*")


def in_postgres(sql: str) -> str:
    """Return ``sql`` with numbered parameters and quoted names, because PostgreSQL converts other
    names to lower case.
    """
    numbers = count(1)

    def replacement(found: re.Match[str]) -> str:
        text = found[0]
        if text == "?":
            return f"${next(numbers)}"
        return text if text[0] in "'\"" else f'"{text}"'

    return _TOKENS.sub(replacement, sql)
