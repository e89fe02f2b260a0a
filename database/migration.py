"""Schema migration: runs the migrations with Alembic, when the schema is not the newest one."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection

from engine.errors import StorageUnavailableError


def migrate(
    connection: Connection,
    migrations: Path,
    revisions: Collection[str],
    missing: Iterable[tuple[str, Column[Any]]],
) -> None:
    """Add ``missing`` columns, by the names of their tables, and migrate to the newest schema.

    Raises:
        StorageUnavailableError: If a newer version of the service has the database, so that one of
            its ``revisions`` is unknown.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in revisions:
        if revision not in known:
            raise StorageUnavailableError(
                f"The database belongs to a newer version of this service (schema '{revision}'); "
                "start that version, or point DATABASE_PATH at another file"
            )
    operations = Operations(MigrationContext.configure(connection))
    for table, column in missing:
        operations.add_column(table, column)
    command.upgrade(config, "head")
