"""Schema: migrates a database at start, in one transaction, without deleting anything."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, inspect, text

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.tables import executions, logs, service_metadata, workflows
from engine.errors import StorageUnavailableError

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
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if VERSION_TABLE in tables:
        _reject_newer(connection, config)
    _add_missing_columns(connection, tables)
    command.upgrade(config, "head")
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


def _add_missing_columns(connection: Connection, tables: Collection[str]) -> None:
    """Add the shared columns that a table of the main project lacks, as nullable columns."""
    operations = Operations(MigrationContext.configure(connection))
    for table in (workflows, executions, logs):
        if table.name in tables:
            existing = {column["name"] for column in inspect(connection).get_columns(table.name)}
            for name in _SHARED_COLUMNS[table.name].split():
                if name not in existing:
                    operations.add_column(table.name, Column(name, table.columns[name].type))


def _reject_newer(connection: Connection, config: Config) -> None:
    revisions = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    rows = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    for (revision,) in rows:
        if revision not in revisions:
            raise StorageUnavailableError(
                f"The database belongs to a newer version of this service (schema '{revision}'); "
                "start that version, or point DATABASE_PATH at another file"
            )
