"""Schema: opens databases of the main project, empty, newer and invalid ones."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from database import Database, ExampleWorkflow
from database.schema import VERSION_TABLE
from engine.errors import StorageError, StorageUnavailableError
from tests.support.documents import line
from tests.support.main_project import create_main_database, open_as_main_project
from tests.support.service import RunningService

EXAMPLE = ExampleWorkflow("hello", "Hello", "{}")


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def prepare(path: Path) -> bool:
    database = Database(url_of(path))
    try:
        return await database.prepare([EXAMPLE])
    finally:
        await database.close()


def columns(path: Path, table: str) -> dict[str, tuple[str, int]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
        return {name: (kind, not_null) for _, name, kind, not_null, _, _ in rows}
    finally:
        connection.close()


async def test_a_missing_database_is_created_with_examples(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.sqlite"
    assert await prepare(path) is True
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT id, name FROM workflows").fetchall() == [("hello", "Hello")]
    connection.close()
    assert {"triggeredByName", "versionNumber"} <= columns(path, "workflow_executions").keys()
    assert await prepare(path) is False


async def test_an_empty_file_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    path.touch()
    assert await prepare(path) is True


async def test_a_database_of_the_main_project_keeps_its_columns_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "main.sqlite"
    create_main_database(path)
    tables = ("workflows", "workflow_executions", "execution_logs")
    before = {table: columns(path, table) for table in tables}
    assert await prepare(path) is False
    for table in tables:
        after = columns(path, table)
        added = {name: after[name] for name in after.keys() - before[table].keys()}
        assert {name: after[name] for name in before[table]} == before[table]
        assert all(not_null == 0 for _, not_null in added.values())
        assert bool(added) == (table == "execution_logs")
    connection = open_as_main_project(path)
    assert [row["id"] for row in connection.execute("SELECT id FROM workflows")] == ["old"]
    (run,) = connection.execute("SELECT * FROM workflow_executions").fetchall()
    assert (run["status"], run["favouriteColour"]) == ("running", "green")
    connection.close()


async def test_missing_tables_and_columns_are_created(tmp_path: Path) -> None:
    path = tmp_path / "half.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE workflows(id TEXT PRIMARY KEY, name TEXT NOT NULL, data TEXT)")
    connection.close()
    await prepare(path)
    assert "status" in columns(path, "workflow_executions")
    assert "seq" in columns(path, "execution_logs")


async def test_a_database_of_a_newer_version_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite"
    await prepare(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num='9999'")
    connection.close()
    with pytest.raises(StorageUnavailableError, match=r"newer version of this service.*'9999'"):
        await prepare(path)


async def test_a_file_that_is_not_a_database_is_rejected_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear Sir or Madam, " * 100)
    with pytest.raises(StorageUnavailableError, match="file is not a database"):
        await prepare(path)
    assert path.read_bytes() == b"Dear Sir or Madam, " * 100


async def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="unable to open database file"):
        await prepare(tmp_path / "nowhere" / "db.sqlite")


async def test_two_services_may_start_on_one_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "both.sqlite"
    created = await asyncio.gather(*(prepare(path) for _ in range(4)))
    assert sorted(created) == [False, False, False, True]


@pytest.mark.parametrize("organizations", [True, False])
def test_executions_run_whether_or_not_organizations_exist(
    tmp_path: Path, organizations: bool
) -> None:
    create_main_database(tmp_path / "database.sqlite", organizations=organizations, references=True)
    with RunningService(tmp_path) as service:
        done = service.run(line(3))
        assert done["status"] == "completed"


def test_an_unknown_organization_is_rejected(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite", organizations=True, references=True)
    with RunningService(tmp_path) as service:
        service.save(line(2))
        rejected = service.submit(organizationId="org-9")
        assert rejected.status_code == 422
        assert "org-9" in rejected.json()["detail"]
        assert rejected.json()["errors"][0]["pointer"] == "/organizationId"
        assert service.submit(organizationId="org-1").status_code == 200
        rows = service.rows("SELECT organizationId FROM workflow_executions WHERE workflowId='w'")
        assert [row[0] for row in rows] == ["org-1"]


def test_rows_of_the_main_project_are_returned_and_not_changed(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite")
    with RunningService(tmp_path) as service:
        old = service.poll("old-run")
        assert old["status"] == "running"
        assert [log["outputData"] for log in old["logs"]] == ["not json"]
        service.run(line(2))
        assert service.poll("old-run")["status"] == "running"


def test_the_service_and_the_main_project_write_at_the_same_time(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite")
    with RunningService(tmp_path) as service:
        service.save(line(5))
        other = open_as_main_project(service.path)
        ids = []
        for i in range(30):
            ids.append(service.submit().json()["executionId"])
            other.execute(
                "UPDATE workflow_executions SET triggeredByName=?, versionNumber=? WHERE id=?",
                (f"user {i}", i, ids[-1]),
            )
        assert {service.ended(i)["status"] for i in ids} == {"completed"}
        rows = other.execute(
            "SELECT triggeredByName, versionNumber FROM workflow_executions"
            " WHERE workflowId='w' ORDER BY versionNumber"
        ).fetchall()
        assert [tuple(row) for row in rows] == [(f"user {i}", i) for i in range(30)]
        other.close()


async def test_a_closed_database_raises_an_error(tmp_path: Path) -> None:
    database = Database(url_of(tmp_path / "db.sqlite"))
    await database.prepare()
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.prepare()
