"""PostgreSQL content: the schema and the rows of a database, which a later test restores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

_CATALOGS = (
    *("pg_attribute", "pg_attrdef", "pg_class", "pg_constraint", "pg_index", "pg_namespace"),
    *("pg_proc", "pg_trigger"),
)
_VERSION = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), sum(hashtext(xmin::text)) FROM {catalog}"
    for catalog in _CATALOGS
)
"""Rows of the catalogs and a checksum of the transactions that wrote them: a change of the schema
writes a row of a catalog, and a copy of a database keeps the transactions of its template."""

_TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""

_NO_ROWS = "[]"


@dataclass(frozen=True, slots=True)
class Content:
    """Version of the schema, rows of the tables and positions of the sequences of a database."""

    version: list[list[Any]]
    rows: Mapping[str, str]
    """Rows of each table, as a JSON array."""
    positions: dict[str, int | None]
    """Last value of each sequence; ``None`` if it has not been used."""

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> Self:
        """Read the content of a database."""
        tables = await connection.fetch(_TABLES)
        rows = {table: await _rows_of(connection, table) for (table,) in tables}
        return cls(await _version(connection), rows, await _positions(connection))

    async def restore(self, connection: asyncpg.Connection) -> bool:
        """Write the rows again; return whether the schema is the same."""
        if await _version(connection) != self.version:
            return False
        async with connection.transaction():
            await self.write_rows(connection)
            now = await _positions(connection)
            for sequence, position in self.positions.items():
                if now.get(sequence, position) != position:
                    await connection.execute(
                        "SELECT setval($1::regclass, coalesce($2, 1), $2 IS NOT NULL)",
                        f'"{sequence}"',
                        position,
                    )
        return True

    async def write_rows(self, connection: asyncpg.Connection) -> None:
        """Replace the rows, and keep the sequences, from which running services read."""
        async with connection.transaction():
            # Without foreign keys, so that the order of the tables does not matter.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table in await self._changed_tables(connection):
                await connection.execute(f'DELETE FROM "{table}"')
                rows = self.rows[table]
                if rows != _NO_ROWS:
                    records = f'json_populate_recordset(NULL::"{table}", $1)'
                    insert = f'INSERT INTO "{table}" SELECT * FROM {records}'
                    await connection.execute(insert, rows)

    async def _changed_tables(self, connection: asyncpg.Connection) -> list[str]:
        """Return the tables with other rows, with one query for all of the empty ones."""
        empty = [table for table, rows in self.rows.items() if rows == _NO_ROWS]
        exists = ", ".join(f'EXISTS (SELECT 1 FROM "{table}")' for table in empty)
        found = await connection.fetchrow(f"SELECT {exists}")
        assert found is not None
        changed = [table for table, has_rows in zip(empty, found, strict=True) if has_rows]
        for table, rows in self.rows.items():
            if rows != _NO_ROWS and await _rows_of(connection, table) != rows:
                changed.append(table)
        return changed


async def _version(connection: asyncpg.Connection) -> list[list[Any]]:
    return [list(row) for row in await connection.fetch(_VERSION)]


async def _rows_of(connection: asyncpg.Connection, table: str) -> str:
    return str(
        await connection.fetchval(f"SELECT coalesce(json_agg(t), '[]') FROM \"{table}\" AS t")
    )


async def _positions(connection: asyncpg.Connection) -> dict[str, int | None]:
    found = await connection.fetch(
        "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
    )
    return dict(found)
