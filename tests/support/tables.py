"""The service's tables by SQL of one's own, whichever database they are in."""

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
    """A row, which gives its columns by name and by place."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> Any: ...


class Tables(Protocol):
    """What somebody does with a connection of his own. SQL is written as for SQLite."""

    def rows(self, sql: str, *values: object) -> list[Row]: ...

    def write(self, sql: str, *values: object) -> None: ...


class SqliteTables:
    """Those of a file."""

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
    """Those of a PostgreSQL database. Not for a thread in which an event loop runs."""

    def __init__(self, url: str) -> None:
        self._dsn = url.replace("+asyncpg", "")

    def rows(self, sql: str, *values: object) -> list[Row]:
        async def ask() -> list[Row]:
            connection = await asyncpg.connect(self._dsn)
            try:
                return await connection.fetch(in_postgres(sql), *values)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def write(self, sql: str, *values: object) -> None:
        self.rows(sql, *values)


def tables_of(url: str) -> Tables:
    """The tables of the database with this SQLAlchemy URL."""
    name = make_url(url).database
    return SqliteTables(str(name)) if url.startswith("sqlite") else PostgresTables(url)


_TOLD_APART = re.compile(r"'[^']*'|\"[^\"]*\"|\?|\b[a-z]+[A-Z]\w*")


def in_postgres(sql: str) -> str:
    """``sql`` with numbered parameters and quoted names, which PostgreSQL else reads in lower
    case."""
    numbers = count(1)

    def told(found: re.Match[str]) -> str:
        text = found[0]
        if text == "?":
            return f"${next(numbers)}"
        return text if text[0] in "'\"" else f'"{text}"'

    return _TOLD_APART.sub(told, sql)
