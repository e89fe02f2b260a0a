"""Retention: ended executions are deleted, oldest first; other rows stay."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text, update

from database import Database, ExampleWorkflow
from database.bulk.records import BulkFilter, BulkRequest, ItemStatus
from database.bulk_tables import bulk_items
from database.executions.inputs import Submission
from database.executions.journal_records import ExecutionResult
from database.maintenance.retention import BATCH_SIZE
from engine.outcome import Progress
from engine.status import ExecutionStatus
from tests.support.call_trees import write
from tests.support.fake_clock import MovingClock
from tests.support.main_project import create_main_database
from tests.support.stored_executions import BEGUN

DAY = 86_400.0


async def ended(database: Database, execution_id: str, payload: str = "{}") -> None:
    await waiting(database, execution_id, payload)
    (run,) = await database.queue.claim("me", 1, 30)
    ending = ExecutionResult(
        ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, payload, payload
    )
    await database.journal.finish(run.lease, BEGUN, ending)


async def waiting(database: Database, execution_id: str, payload: str = "{}") -> None:
    submission = Submission(
        execution_id=execution_id,
        workflow_id="w",
        workflow_name="A workflow",
        organization_id=None,
        document=f'{{"of": "{execution_id}"}}',
        inputs=payload,
        total_nodes=1,
    )
    await database.submissions.submit(submission)


async def column(database: Database, sql: str) -> list[object]:
    query = text(sql)
    return await database._access.reader.run(lambda connection: list(connection.scalars(query)))


async def test_the_last_executions_are_kept(database: Database, clock: MovingClock) -> None:
    for i in range(6):
        await ended(database, f"e{i}")
        clock.advance(1)
    await waiting(database, "pending")
    assert await database.retention.delete_expired(None, 2) == 4
    assert await database.retention.delete_expired(None, 2) == 0
    kept = await column(database, 'SELECT id FROM workflow_executions ORDER BY "createdAt"')
    assert kept == ["e4", "e5", "pending"]
    assert len(await column(database, "SELECT hash FROM orchestrator_definitions")) == 3


async def test_older_executions_are_deleted(database: Database, clock: MovingClock) -> None:
    await ended(database, "old")
    await waiting(database, "pending")
    clock.advance(2 * DAY)
    await ended_now(database, "pending")
    assert await database.retention.delete_expired(1.0, None) == 1
    assert await column(database, "SELECT id FROM workflow_executions") == ["pending"]


async def test_executions_of_a_bulk_operation_stay_until_they_are_treated(
    database: Database,
) -> None:
    for name in ("first", "second", "other"):
        await ended(database, name)
    filter_ = BulkFilter(None, frozenset(), None, None, None, include_rerun=False)
    ids = ("first", "second")
    await database.bulk.create(BulkRequest("b", "rerun", None, ids, filter_, "original", "h"))
    assert await database.retention.delete_expired(None, 0) == 1
    is_first = bulk_items.c.executionId == "first"
    await write(database, update(bulk_items).where(is_first).values(status=ItemStatus.SUCCEEDED))
    assert await database.retention.delete_expired(0.0, 0) == 1
    assert await column(database, "SELECT id FROM workflow_executions") == ["second"]


async def ended_now(database: Database, execution_id: str) -> None:
    (run,) = await database.queue.claim("me", 1, 30)
    assert run.lease.execution_id == execution_id
    ending = ExecutionResult(ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, "{}", "{}")
    await database.journal.finish(run.lease, BEGUN, ending)


async def test_retention_deletes_in_batches(database: Database) -> None:
    for i in range(BATCH_SIZE + 3):
        await ended(database, f"e{i}")
    assert await database.retention.delete_expired(None, 0) == BATCH_SIZE
    assert await database.retention.delete_expired(None, 0) == 3


async def test_rows_of_the_main_project_are_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "main.sqlite"
    create_main_database(path)
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.prepare()
    assert await database.retention.created_by_service() is False
    assert await database.retention.delete_expired(0.000001, 0) == 0
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id FROM execution_logs").fetchall()
    assert rows == [("old-log",)]


async def test_a_file_that_the_service_created_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "own.sqlite"
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.prepare([ExampleWorkflow("w", "A workflow", "{}")])
    assert await database.retention.created_by_service() is True
    for i in range(120):
        await ended(database, f"e{i}", '"' + "x" * 100_000 + '"')
    await database.close()
    large = path.stat().st_size
    database = Database(f"sqlite+aiosqlite:///{path}")
    while await database.retention.delete_expired(None, 5):
        pass
    while await database.retention.vacuum():
        pass
    await database.close()
    assert large > 30_000_000
    assert path.stat().st_size < large / 2
