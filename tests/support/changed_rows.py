"""Changed rows: executions and rows that tests store directly, in the states that they need."""

from typing import Any

from sqlalchemy import update

from database import Database
from database.tables import executions, runs
from tests.support.call_trees import submission, write
from tests.support.ended_executions import insert_rows


async def submit(database: Database, *execution_ids: str, **values: Any) -> None:
    """Submit executions with the same further values."""
    for execution_id in execution_ids:
        await database.submissions.submit(submission(execution_id, **values))


async def set_execution(database: Database, execution_id: str, **values: object) -> None:
    """Change the execution in the table of the main project."""
    own = executions.c.id == execution_id
    await write(database, update(executions).where(own).values(**values))


async def set_run(database: Database, execution_id: str, **values: object) -> None:
    """Change the row of an execution in the table of the service."""
    own = runs.c.executionId == execution_id
    await write(database, update(runs).where(own).values(**values))


async def insert(database: Database, table: Any, *values: dict[str, Any]) -> None:
    """Insert rows, which may have different columns."""
    for each in values:
        await insert_rows(database, {table: [each]})
