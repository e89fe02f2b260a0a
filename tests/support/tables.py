"""Tables: direct SQL access to the service's database, for SQLite and PostgreSQL."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any, Protocol

import asyncpg
from sqlalchemy import make_url


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
    """Tables of a PostgreSQL database. Not for a thread with a running event loop."""

    def __init__(self, url: str) -> None:
        self._dsn = url.replace("+asyncpg", "")

    def rows(self, sql: str, *values: object) -> list[Row]:
        async def fetch() -> list[Row]:
            connection = await asyncpg.connect(self._dsn)
            try:
                return await connection.fetch(in_postgres(sql), *values)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def write(self, sql: str, *values: object) -> None:
        self.rows(sql, *values)


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
