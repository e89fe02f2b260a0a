"""Deletion: an execution is deleted with all its rows, and the rows of all others stay."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from database import Database
from database.maintenance.retention import delete_executions
from database.payloads import LargeTexts
from database.tables import (
    callbacks,
    children,
    chunks,
    definitions,
    events,
    executions,
    failures,
    logs,
    payload_parts,
    payload_uses,
    payloads,
    requests,
    runs,
    schedule_runs,
)
from database.waiting_tables import event_waits, human_tasks, task_answers, task_assignees
from tests.database.conftest import EXAMPLES
from tests.support.call_trees import rows
from tests.support.ended_executions import insert_rows
from tests.support.fake_clock import MovingClock
from tests.support.incompressible import incompressible
from tests.support.prepared_databases import copy_prepared_sqlite

AT = "2026-01-01T00:00:00.000Z"
TABLES = (
    callbacks,
    children,
    chunks,
    definitions,
    event_waits,
    events,
    executions,
    failures,
    human_tasks,
    logs,
    payload_parts,
    payload_uses,
    payloads,
    requests,
    runs,
    schedule_runs,
    task_answers,
    task_assignees,
)
"""All tables with rows of one execution, or with rows that executions share."""


@pytest.fixture
async def unenforced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Database]:
    """Yield a SQLite file whose foreign keys are not enforced, as in some main projects."""
    monkeypatch.setattr("database.connection.engines._MISSING_PARENTS", "SELECT 1")
    copy_prepared_sqlite(tmp_path / "db.sqlite", EXAMPLES)
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}", MovingClock())
    yield database
    await database.close()


def rows_of(execution_id: str, definition: str) -> dict[Table, list[dict[str, Any]]]:
    """Return a row in each table that names an execution."""
    key = {"executionId": execution_id}
    task = f"task of {execution_id}"
    run = {"organization": "", "definitionHash": definition, "workflowName": "W"}
    counts = {"completedNodes": 0, "failedNodes": 0, "skippedNodes": 0}
    person = {"taskId": task, "assignee": "Ada"}
    return {
        executions: [{"id": execution_id, "workflowId": "w", "status": "failed"}],
        runs: [{**key, **run, **counts, "seq": 1, "totalNodes": 1, "recoveries": 0}],
        logs: [{**key, "id": f"{execution_id}:n", "nodeId": "n"}],
        events: [{**key, **counts, "seq": 1, "at": AT}],
        callbacks: [{**key, "id": f"c-{execution_id}", "host": "h", "url": "u", "attempts": 0}],
        event_waits: [{**key, "nodeId": "n", "organization": "", "name": "paid", "key": "7"}],
        failures: [
            {
                **key,
                "organization": "",
                "workflowId": "w",
                "fingerprint": "f",
                "message": "m",
                "failedAt": AT,
            }
        ],
        requests: [{**key, "request": "{}"}],
        schedule_runs: [{**key, "scheduleId": "s", "instant": execution_id}],
        human_tasks: [
            {
                **key,
                "id": task,
                "nodeId": "n",
                "status": "open",
                "required": 1,
                "approvals": 0,
                "rejections": 0,
                "createdAt": AT,
            }
        ],
        task_assignees: [{**person, "status": "open", "createdAt": AT}],
        task_answers: [{**person, "approved": 1, "answeredAt": AT}],
    }


def call(child: str, parent: str, root: str) -> dict[str, Any]:
    return {
        "executionId": child,
        "parentId": parent,
        "nodeRunId": f"{parent}:n",
        "depth": 1,
        "rootId": root,
    }


async def store(database: Database, execution_id: str, definition: str) -> None:
    await insert_rows(database, rows_of(execution_id, definition))
    texts = LargeTexts()
    texts.replace(f'"{incompressible(9_000)}"')
    texts.replace(f'"{execution_id}{"x" * 9_000}"')
    await database._access.writer.run(lambda c: texts.write(c, execution_id))


async def state(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: sorted((tuple(row) for row in await rows(database, table)), key=repr)
        for table in TABLES
    }


async def remove(database: Database, *execution_ids: str) -> None:
    await database._access.writer.run(lambda c: delete_executions(c, execution_ids))


async def test_an_execution_is_deleted_with_its_rows_and_no_others(unenforced: Database) -> None:
    database = unenforced
    known = [{"hash": name, "document": "{}", "createdAt": AT} for name in ("shared", "own")]
    await insert_rows(database, {definitions: known[:1]})
    await store(database, "other", "shared")
    before = await state(database)
    assert [name for name, found in before.items() if not found] == ["orchestrator_children"]
    await insert_rows(database, {definitions: known[1:]})
    await store(database, "e1", "own")
    await store(database, "e2", "shared")
    await remove(database, "e1", "e2")
    assert await state(database) == before


async def test_a_definition_is_deleted_with_its_last_execution(unenforced: Database) -> None:
    database = unenforced
    await insert_rows(database, {definitions: [{"hash": "d", "document": "{}", "createdAt": AT}]})
    for execution_id in ("e1", "e2"):
        await store(database, execution_id, "d")
    await remove(database, "e1")
    assert len(await rows(database, definitions)) == 1
    await remove(database, "e2")
    assert await rows(database, definitions) == []


async def test_calls_are_counted_until_their_top_level_execution_is_deleted(
    unenforced: Database,
) -> None:
    database = unenforced
    await insert_rows(database, {definitions: [{"hash": "d", "document": "{}", "createdAt": AT}]})
    for execution_id in ("root", "middle", "leaf", "other", "of other"):
        await store(database, execution_id, "d")
    other = call("of other", "other", "other")
    calls = [call("middle", "root", "root"), call("leaf", "middle", "root"), other]
    await insert_rows(database, {children: calls})

    async def parents() -> dict[str, str | None]:
        return {row.executionId: row.parentId for row in await rows(database, children)}

    await remove(database, "middle")
    assert await parents() == {"middle": "root", "leaf": None, "of other": "other"}
    await remove(database, "root")
    assert await parents() == {"leaf": None, "of other": "other"}
    await remove(database, "other", "of other")
    assert await parents() == {"leaf": None}
