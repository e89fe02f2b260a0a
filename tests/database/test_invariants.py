"""Invariants: each one finds its violation, and nothing in a valid database."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import ROOT
from database import Database
from database.check import BROKEN, NOT_CHECKED, PASSED, check_database
from database.maintenance.invariants import CLAIM_GRACE_SECONDS
from tests.support.documents import document, line, node
from tests.support.main_project import create_main_database
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService, wait_until

COMPLETED_BULK = "done"
ENDED, PARKED, PENDING, RUNNING = "ended", "parked", "pending", "running"
ASKED, AWAITING = "asked", "awaiting"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a database with a real service, with executions in seven states."""
    directory = tmp_path_factory.mktemp("invariants")
    with RunningService(directory, PROBE_TYPES) as service:
        ids = {
            ENDED: service.run(line(3))["executionId"],
            "failed": service.run(document(node("bad", "raise")))["executionId"],
            PARKED: service.start(document(node("wait", "wait", waitSeconds=9_999))),
            PENDING: service.start(document(node("wait", "wait", waitSeconds=9_999))),
            RUNNING: service.start(document(node("wait", "wait", waitSeconds=9_999))),
            ASKED: service.start(document(node("ask", "approval", approvalAssignees="Ada"))),
            AWAITING: service.start(document(node("paid", "waitForEvent", eventName="paid"))),
        }
        for name in (PARKED, PENDING, RUNNING, ASKED, AWAITING):
            wait_until(lambda i=ids[name]: service.poll(i)["status"] == "waiting")
    with change(service.path) as database:
        for name, execution_id in ids.items():
            rename(database, execution_id, name)
        database.execute(execution("status='pending'", PENDING))
        database.execute(run("claimableAt=''", PENDING))
        for table in ("execution_logs", "orchestrator_events"):
            database.execute(f"DELETE FROM {table} WHERE executionId IN ('pending', 'running')")
        until = "claimableAt='2100-01-01T00:00:00.000Z'"
        database.execute(execution("status='running'", RUNNING))
        database.execute(run(f"owner='me', {until}, seq=1", RUNNING))
        database.execute(execution("triggerType='failure'", ENDED))
        completed = bulk("completedAt", "0, '2026-01-01'")
        database.execute(completed.replace("'ended'", f"'{COMPLETED_BULK}'"))
        database.execute(callback("attempts, deliveredAt", "1, '2026-01-01'", ENDED))
        database.execute(callback("attempts, dueAt", "1, '2026-01-01'", "failed"))
        database.execute(callback("attempts", "0", PARKED))
        database.execute(
            "INSERT INTO execution_logs(id, executionId, nodeId, status, attempt, seq)"
            " VALUES ('running:wait', 'running', 'wait', 'running', 1, 1)"
        )
    return service.path


class change:  # noqa: N801 - used like a function
    """Connection for changes that a service never makes."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)

    def __enter__(self) -> sqlite3.Connection:
        return self._database

    def __exit__(self, *_: object) -> None:
        self._database.commit()
        self._database.close()


def rename(database: sqlite3.Connection, execution_id: str, name: str) -> None:
    for table, column in (
        ("workflow_executions", "id"),
        ("orchestrator_runs", "executionId"),
        ("execution_logs", "executionId"),
        ("orchestrator_events", "executionId"),
        ("orchestrator_failures", "executionId"),
        ("orchestrator_tasks", "executionId"),
        ("orchestrator_event_waits", "executionId"),
    ):
        database.execute(f"UPDATE {table} SET {column}=? WHERE {column}=?", (name, execution_id))


def nodes(columns: str, execution_id: str) -> str:
    return f"UPDATE execution_logs SET {columns} WHERE executionId='{execution_id}'"


def execution(columns: str, execution_id: str) -> str:
    return f"UPDATE workflow_executions SET {columns} WHERE id='{execution_id}'"


def run(columns: str, execution_id: str) -> str:
    return f"UPDATE orchestrator_runs SET {columns} WHERE executionId='{execution_id}'"


def callback(columns: str, values: str, execution_id: str) -> str:
    return (
        f"INSERT OR REPLACE INTO orchestrator_callbacks(id, executionId, host, url, {columns})"
        f" VALUES ('{execution_id}', '{execution_id}', 'h', 'http://h/', {values})"
    )


def schedule(columns: str, values: str) -> str:
    return (
        "INSERT INTO orchestrator_schedules"
        f"(id, handledAt, createdAt, workflowId, nodeId, {columns})"
        f" VALUES ('ended', '', '', 'w', 'n', {values})"
    )


def human_task(columns: str) -> str:
    return f"UPDATE orchestrator_tasks SET {columns} WHERE executionId='asked'"


def permits(rows: str) -> str:
    columns = "name, request, nodeRunId, executionId, owner, capacity, grantedAt"
    return f"INSERT INTO orchestrator_permits({columns}) {rows}"


def bulk(columns: str, values: str) -> str:
    return (
        "INSERT INTO orchestrator_bulk_operations"
        f"(id, organization, action, bodyHash, createdAt, matched, {columns})"
        f" VALUES ('ended', '', 'rerun', '', '', {values})"
    )


HASH = "h"
EVENT = (
    "INSERT INTO orchestrator_external_events(id, organization, name, key, deliveries, createdAt,"
    " expiresAt, status) VALUES ('ended', '', 'paid', '', 0, '', '2100-01-01', '{}')"
)
PERMIT = f"('{HASH}', 'r', 'running:wait', 'running', 'me', 1, '2026-01-01T00:00:00.000Z')"
LOST = json.dumps({"orchestratorPayload": "0" * 64}, separators=(",", ":"))

SUBJECTS = (ENDED, "failed", PARKED, PENDING, RUNNING, ASKED, AWAITING, HASH, COMPLETED_BULK)

VIOLATIONS = {
    "the payloads of an execution exist": execution(f"finalOutput='{LOST}'", ENDED),
    "the payloads of a node run exist": nodes(f"outputData='{LOST}'", ENDED),
    "a payload has all its chunks": "INSERT INTO orchestrator_payloads VALUES ('h', 1, 1, '')",
    "a chunk belongs to a payload": "INSERT INTO orchestrator_chunks VALUES ('h', 'x')",
    "no more permits of a limit are granted than it has": permits(
        f"VALUES {', '.join(2 * [PERMIT])}"
    ),
    "a node run that has ended holds no permit": permits(
        "SELECT 'key:x', 'r', id, 'running', 'me', 1, NULL FROM execution_logs"
        " WHERE executionId='ended' LIMIT 1"
    ),
    "an execution has one of the known statuses": execution("status='odd'", PARKED),
    "an ended execution has an end time": execution("completedAt=NULL", ENDED),
    "only an ended execution has an end time": run("endedAt='2026'", PARKED),
    "a failed execution has an error": execution("error=''", "failed"),
    "the failure of a failed execution is recorded": "DELETE FROM orchestrator_failures",
    "an execution that a failure started belongs to this failure": run("failureOf='failed'", ENDED),
    "a failure with a failure workflow has one execution of it, or the reason for none": (
        "UPDATE orchestrator_failures SET failureWorkflowId='w'"
    ),
    "a completed execution has its output and its node results, and no error": (
        execution("nodeResults=NULL", ENDED)
    ),
    "every node of a completed execution is done": run("completedNodes=1", ENDED),
    "no more nodes are done than exist": run("failedNodes=9", "failed"),
    "only an execution that has not ended has a current node": execution(
        "currentNodeId='n'", ENDED
    ),
    "an execution runs if and only if it has an owner": run("owner=NULL", RUNNING),
    "a lease has an end": run("claimableAt=NULL", RUNNING),
    "an ended execution is not claimable": run("claimableAt=''", ENDED),
    "a pending execution is claimable": run("claimableAt=NULL", PENDING),
    "the definition of an execution exists": run("definitionHash='gone'", ENDED),
    "a node has one row in an execution": (
        "INSERT INTO execution_logs(id, executionId, nodeId, status, outputData)"
        " SELECT 'again', executionId, nodeId, status, outputData FROM execution_logs"
        " WHERE executionId='ended' LIMIT 1"
    ),
    "a node run has one of the known statuses": nodes("status=NULL", ENDED),
    "no node runs or waits in an execution that ended": nodes("status='running'", ENDED),
    "a node runs only in an execution that runs": nodes("status='running'", PARKED),
    "a completed node has its output": nodes("outputData=NULL", ENDED),
    "a failed node has an error": nodes("error=NULL", "failed"),
    "a node that waits for its next attempt has its time and the last error": nodes(
        "resultDetail=NULL, lastError=NULL, waitUntil='2026-01-01T00:00:00.000Z'", PARKED
    ),
    "a node that waits without a result and a time has requested a permit": nodes(
        "resultDetail=NULL, waitUntil=NULL", PARKED
    ),
    "only a waiting node has a waiting time": nodes("waitingSince='2026-01-01'", ENDED),
    "a node run that has not ended has no end time": nodes(
        "endedAt='2026-01-01T00:00:00.000Z'", PARKED
    ),
    "no row is newer than its execution": nodes("seq=99", ENDED),
    "the events of an execution have no gap": (
        "DELETE FROM orchestrator_events WHERE executionId='ended' AND seq=3"
    ),
    "the last event of an ended execution is its end": (
        "UPDATE orchestrator_events SET status='running' WHERE executionId='ended'"
    ),
    "a parked execution has a waiting node": nodes("status='completed'", PARKED),
    "a callback is due, delivered or abandoned only if its execution has ended": (
        callback("dueAt", "'2026-01-01'", PARKED)
    ),
    "the callback of an ended execution is due, delivered or abandoned": (
        callback("attempts", "1", "failed")
    ),
    "a callback that is delivered or abandoned is not due": (
        callback("attempts, dueAt, abandonedAt", "1, '2026-01-01', '2026-01-01'", "failed")
    ),
    "a callback is not both delivered and abandoned": (
        callback("attempts, deliveredAt, abandonedAt", "1, '2026-01-01', '2026-01-01'", ENDED)
    ),
    "a callback with an owner is due when its lease ends": (
        callback("dueAt, owner", "'2026-01-01', 'me'", "failed")
    ),
    "a delivered callback was sent": callback("deliveredAt", "'2026-01-01'", ENDED),
    "a node that waits for a child will be notified": nodes("childExecutionId='gone'", PARKED),
    "a node does not wait for a child that has ended": nodes("childExecutionId='ended'", PARKED),
    "the children of an ended execution have ended or are cancelled": (
        "INSERT INTO orchestrator_children(executionId, parentId, nodeRunId, depth, rootId)"
        " VALUES ('parked', 'ended', 'ended:n', 1, 'ended')"
    ),
    "an approval that waits has an open task": "DELETE FROM orchestrator_tasks",
    "the node of an open task waits for an answer": nodes("resumption='{}'", ASKED),
    "a node that waits for an event can receive it": "DELETE FROM orchestrator_event_waits",
    "a node that can receive an event waits for it": nodes("resumption='{}'", AWAITING),
    "a delivered event has a recipient and no payload, and a kept one has no recipient": (
        EVENT.format("delivered")
    ),
    "no event is kept while a node waits for it": EVENT.format("kept"),
    "an ended task has an end time, and a completed one a decision": human_task("approved=1"),
    "the assignees of a task have its status": (
        "UPDATE orchestrator_task_assignees SET status='completed'"
    ),
    "a task counts its answers": human_task("approvals=1"),
    "a task is due if and only if it has a reminder or an escalation": human_task("dueAt='2026'"),
    "the callback of a task has a body, and is due, delivered or abandoned": (
        callback("attempts", "0", PARKED).replace("('parked'", "('t'")
    ),
    "a completed bulk operation has no pending item": (
        "INSERT INTO orchestrator_bulk_items(bulkId, executionId, status)"
        " VALUES ('done', 'parked', 'pending')"
    ),
    "a bulk operation has all its items": bulk("claimableAt", "1, ''"),
    "a bulk operation that is not completed will continue": bulk("claimableAt", "0, NULL"),
    "an execution is the rerun of its item of a bulk operation": (
        "INSERT INTO orchestrator_bulk_items(bulkId, executionId, status, newExecutionId)"
        " VALUES ('done', 'parked', 'succeeded', 'ended')"
    ),
    "a schedule that is active has the time of its next instant": schedule(
        "settings, nextAt", "'{}', '2026-01-01T00:00:00.000Z'"
    ),
    "a schedule that is paused, blocked or invalid is not due": schedule(
        "settings, nextAt, dueAt, pausedAt", "'{}', '2026-01-01', '2026-01-01', '2026-01-01'"
    ),
    "a schedule has either settings or an error": schedule("settings, error", "'{}', 'no'"),
    "an execution that a schedule started has its instant": (
        execution("triggerType='schedule'", ENDED)
    ),
    "the execution of an instant exists": (
        "INSERT INTO orchestrator_schedule_runs(scheduleId, instant, executionId)"
        " VALUES ('s', '2026-01-01', 'parked gone')"
    ),
    "no execution stays running without an owner": run(
        "claimableAt='2020-01-01T00:00:00.000Z'", RUNNING
    ),
}


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Path:
    """Copy the database, so that a test can corrupt it."""
    path = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(pristine)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return path


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def violations_in(path: Path, *, service_runs: bool = True) -> dict[str, str]:
    """Return the violated invariants with their subjects."""
    database = Database(url_of(path))
    try:
        found = await database.find_violations(service_runs=service_runs)
    finally:
        await database.close()
    return {violation.invariant: violation.subject for violation in found}


async def test_the_database_of_a_service_satisfies_every_invariant(copy: Path) -> None:
    assert await violations_in(copy) == {}


@pytest.mark.parametrize("invariant", VIOLATIONS)
async def test_a_row_that_violates_an_invariant_is_reported(copy: Path, invariant: str) -> None:
    with change(copy) as database:
        assert database.execute(VIOLATIONS[invariant]).rowcount >= 1
    found = await violations_in(copy)
    assert invariant in found
    assert found[invariant].split()[0] in SUBJECTS


def test_every_invariant_is_tested() -> None:
    from database.maintenance import invariants  # noqa: PLC0415 - reads private tables

    queries = {**invariants._EXECUTIONS, **invariants._NODE_RUNS, **invariants._CALLBACKS}
    untimed = {*queries, *invariants._OTHERS}
    timed = {name for name in VIOLATIONS if "without an owner" in name or "event is kept" in name}
    assert untimed | timed == set(VIOLATIONS)


async def test_an_expired_lease_is_a_violation_only_while_a_service_runs(copy: Path) -> None:
    with change(copy) as database:
        database.execute(VIOLATIONS["no execution stays running without an owner"])
    assert await violations_in(copy, service_runs=False) == {}
    assert len(await violations_in(copy)) == 1


async def test_a_lease_that_just_expired_is_not_a_violation(copy: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert CLAIM_GRACE_SECONDS > 1
    with change(copy) as database:
        database.execute(run(f"claimableAt='{now}'", RUNNING))
    assert not await violations_in(copy)


async def test_rows_of_the_main_project_are_not_checked(copy: Path) -> None:
    with change(copy) as database:
        database.executescript(
            "INSERT INTO workflows(id, name, data) VALUES ('theirs', 'x', '{}');"
            " INSERT INTO workflow_executions(id, workflowId, status)"
            " VALUES ('theirs', 'theirs', 'odd');"
            " INSERT INTO execution_logs(id, executionId, nodeId) VALUES ('x', 'theirs', 'n')"
        )
    assert await violations_in(copy) == {}


def test_the_check_prints_ok(copy: Path) -> None:
    report = check_database(url_of(copy))
    (line_,) = report.lines
    assert (report.exit_code, line_[:4]) == (PASSED, "OK: ")


def test_the_check_prints_a_line_for_each_violation(copy: Path) -> None:
    with change(copy) as database:
        database.execute(VIOLATIONS["a failed execution has an error"])
        database.execute(VIOLATIONS["an ended execution is not claimable"])
    report = check_database(url_of(copy))
    expected = ["ended: an ended execution is not claimable"]
    expected.append("failed: a failed execution has an error")
    assert (report.exit_code, sorted(report.lines)) == (BROKEN, expected)


def test_the_check_creates_no_database(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    report = check_database(url_of(path))
    assert (report, report.exit_code) == (check_database(url_of(path)), NOT_CHECKED)
    assert report.lines == [f"The database {path} does not exist"]
    assert not path.exists()


def test_the_check_adds_nothing_to_a_database_that_no_service_has_used(tmp_path: Path) -> None:
    path = tmp_path / "main.sqlite"
    create_main_database(path)
    report = check_database(url_of(path))
    assert report.exit_code == NOT_CHECKED
    assert "No service has ever used" in report.lines[0]
    with closing(sqlite3.connect(path)) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'orchestrator%'")
        assert names.fetchall() == []


def test_a_file_that_is_not_a_database_cannot_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("this is not a database, in spite of its name " * 50)
    report = check_database(url_of(path))
    assert (report.exit_code, "is not a database" in report.lines[0]) == (NOT_CHECKED, True)


def test_the_check_command_prints_the_report_and_starts_nothing(copy: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_PATH": str(copy), "PREFECT_HOME": str(tmp_path / "no")}
    command = [sys.executable, "start_service.py", "--check"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (PASSED, "")
    assert done.stdout.startswith("OK: ")
    assert not (tmp_path / "no").exists()
