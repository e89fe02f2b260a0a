"""Schema: migrates a database at start, in one transaction, without deleting anything."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, inspect, text

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.tables import executions, logs, service_metadata, workflows

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "orchestrator_schema_version"
"""Not Alembic's default name, which the main project may use for itself."""

CREATED_BY_SERVICE = "created"
"""Name of the entry with the time at which the service created the main project's tables."""

_SHARED_COLUMNS = {
    "workflows": "organizationId name data tags createdAt updatedAt",
    "workflow_executions": "organizationId status triggerType inputs currentNodeId nodeResults"
    " finalOutput error createdAt startedAt completedAt",
    "execution_logs": "nodeId nodeType nodeLabel status inputData outputData error duration"
    " timestamp",
}
"""Columns of the main project's tables that statements read."""

_MIGRATION_LOCK = 7_205_759_403  # any number, the same in every version of the service


@dataclass(frozen=True, slots=True)
class ExampleWorkflow:
    """A workflow that is stored in each database that the service creates. ``data`` is JSON."""

    id: str
    name: str
    data: str
    tags: str | None = None


async def prepare_schema(
    writer: Writer, clock: Clock, examples: Sequence[ExampleWorkflow] = ()
) -> bool:
    """Create missing tables and columns; store the examples if the table ``workflows`` is new.

    Returns:
        Whether the database was empty.

    Raises:
        StorageError: If the database cannot be opened or written, or has a newer schema.
    """
    return await writer.run(lambda connection: _upgrade(connection, clock, examples))


async def is_prepared(reader: Reader) -> bool:
    """Return whether a service has ever migrated this database; change nothing."""
    return VERSION_TABLE in await reader.run(
        lambda connection: inspect(connection).get_table_names()
    )


def _upgrade(connection: Connection, clock: Clock, examples: Sequence[ExampleWorkflow]) -> bool:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    tables = set(inspect(connection).get_table_names())
    missing = _missing_columns(connection, tables)
    if missing or _revisions(connection, tables) != {newest_revision()}:
        # Imported only here, because Alembic takes 7 MB and a twentieth of the time of the start.
        from database.migration import migrate  # noqa: PLC0415

        migrate(connection, MIGRATIONS, _revisions(connection, tables), missing)
    created = workflows.name not in tables
    if created:
        connection.execute(
            service_metadata.insert().values(name=CREATED_BY_SERVICE, value=to_text(clock()))
        )
    if created and examples:
        now = to_text(clock())
        connection.execute(
            workflows.insert(),
            [
                {
                    "id": example.id,
                    "name": example.name,
                    "data": example.data,
                    "tags": example.tags,
                    "createdAt": now,
                    "updatedAt": now,
                }
                for example in examples
            ],
        )
    return created


def newest_revision() -> str:
    """Return the newest revision of the schema; the names of the migrations begin with theirs."""
    names = (path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    return max(names).partition("_")[0]


def _revisions(connection: Connection, tables: Collection[str]) -> set[str]:
    """Return the revision of a database; nothing if no service has migrated it."""
    if VERSION_TABLE not in tables:
        return set()
    return set(connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")))  # noqa: S608 - a constant


def _missing_columns(
    connection: Connection, tables: Collection[str]
) -> list[tuple[str, Column[Any]]]:
    """Return the shared columns that tables of the main project lack, as nullable columns."""
    missing: list[tuple[str, Column[Any]]] = []
    for table in (workflows, executions, logs):
        if table.name in tables:
            existing = {column["name"] for column in inspect(connection).get_columns(table.name)}
            names = [name for name in _SHARED_COLUMNS[table.name].split() if name not in existing]
            missing += [(table.name, Column(name, table.columns[name].type)) for name in names]
    return missing
