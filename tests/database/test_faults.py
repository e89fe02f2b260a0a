"""Storage errors: with a locked, full or read-only database, nothing is lost or half-stored."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from structlog.testing import capture_logs

from database import Database
from database.connection.engines import LOCK_POLL_SECONDS
from engine.errors import StorageUnavailableError
from tests.support.disks import Disk, small_disk
from tests.support.documents import document, line, node
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService, wait_until

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("UPDATE workflows SET name = name")
connection.execute("COMMIT")
"""

GATED = document(
    node("start", "trigger"),
    node("gate", "gate"),
    node("end"),
    flow=("start -> gate", "gate -> end"),
)


class Lock:
    """Another process that has started a write transaction."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", LOCK, str(path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"

    def release(self) -> None:
        """Let the process commit and exit."""
        assert self._process.poll() is None
        self._process.communicate("commit\n", timeout=20)
        assert self._process.returncode == 0

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold the write lock in another process."""
    lock = Lock(path)
    try:
        yield lock
    finally:
        lock.close()


def has_waited(events: list[Any], operation: str) -> bool:
    """Return whether the log contains that ``operation`` had to wait."""
    return any(e["event"] == "database_unavailable" and e["operation"] == operation for e in events)


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()


# Locked


def test_writes_wait_for_a_lock_of_four_seconds_and_polling_continues(
    service: RunningService, gates: Gates
) -> None:
    running = service.start(GATED)
    service.save(line(3), "other")
    gates.wait_for("gate")
    with locked(service.path) as lock, ThreadPoolExecutor() as pool:
        timer = threading.Timer(4.0, lock.release)
        timer.start()
        gates.open("gate")  # the execution has a step to record now
        submissions = [pool.submit(service.submit, "other") for _ in range(5)]
        statuses: list[str] = []
        while timer.is_alive():
            answer = service.http.get(f"/api/executions/{running}")
            if timer.is_alive():  # a reader that waited for the lock would be late
                statuses.append(answer.json()["status"])
                assert not any(submission.done() for submission in submissions)
        assert set(statuses) == {"running"}
        accepted = [submission.result() for submission in submissions]
    assert [answer.status_code for answer in accepted] == [200] * 5
    for execution_id in [running, *(answer.json()["executionId"] for answer in accepted)]:
        assert service.ended(execution_id)["status"] == "completed"


async def test_a_new_reader_does_not_wait_for_the_lock_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "database.sqlite"
    url = f"sqlite+aiosqlite:///{path}"
    writer = Database(url)
    await writer.prepare()
    await writer.close()
    # A connection that needed the lock would fail at once.
    monkeypatch.setattr("database.connection.engines.BUSY_TIMEOUT_MS", 0)
    with locked(path):
        reader = Database(url)
        try:
            assert await reader.is_prepared()
        finally:
            await reader.close()


async def test_the_pauses_before_the_write_lock_do_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "database.sqlite"
    copy_prepared_sqlite(path)
    database = Database(f"sqlite+aiosqlite:///{path}")
    other = sqlite3.connect(path, check_same_thread=False)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 30:  # SQLite's own pauses would be 100 ms long by now
            other.rollback()

    monkeypatch.setattr("database.connection.engines.sleep", sleep)
    try:
        await database.statistics.probe_write()
        other.execute("BEGIN IMMEDIATE")
        await database.statistics.probe_write()
    finally:
        other.close()
        await database.close()
    assert pauses == [LOCK_POLL_SECONDS] * 30


@pytest.fixture
def short_timeout_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningService]:
    """Start a service with a lock timeout of half a second."""
    monkeypatch.setattr("database.connection.engines.BUSY_TIMEOUT_MS", 500)
    with RunningService(tmp_path, PROBE_TYPES) as running:
        yield running


def test_a_longer_lock_rejects_submissions_and_executions_wait(
    short_timeout_service: RunningService, gates: Gates
) -> None:
    running = short_timeout_service.start(GATED)
    gates.wait_for("gate")
    before = row_counts(short_timeout_service)
    with locked(short_timeout_service.path) as lock, capture_logs() as events:
        gates.open("gate")
        wait_until(lambda: has_waited(events, "step_recording"))
        answer = short_timeout_service.submit()
        assert "busy" in problem_of(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert row_counts(short_timeout_service) == before
        assert short_timeout_service.poll(running)["status"] == "running"
        lock.release()
        assert short_timeout_service.ended(running)["status"] == "completed"
    assert short_timeout_service.run(line(3))["status"] == "completed"


def test_concurrent_writes_wait_for_a_lock_together(short_timeout_service: RunningService) -> None:
    short_timeout_service.save(line(2))
    with locked(short_timeout_service.path), ThreadPoolExecutor(20) as pool:
        since = monotonic()
        assert short_timeout_service.submit().status_code == 503
        alone = monotonic() - since
        answers = list(pool.map(lambda _: short_timeout_service.submit(), range(20)))
        together = monotonic() - since - alone
    assert {answer.status_code for answer in answers} == {503}
    assert together < 10 * alone  # in sequence it would be 20


def test_a_cancellation_is_rejected_while_the_database_is_locked(
    short_timeout_service: RunningService, gates: Gates
) -> None:
    running = short_timeout_service.start(GATED)
    gates.wait_for("gate")
    with locked(short_timeout_service.path) as lock:
        problem_of(short_timeout_service.http.post(f"/api/executions/{running}/cancel"), 503)
        lock.release()
    gates.open("gate")
    assert short_timeout_service.ended(running)["status"] == "completed"


def test_a_node_preview_runs_while_the_database_is_locked(
    short_timeout_service: RunningService,
) -> None:
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "trigger", "node": {}}
    with locked(short_timeout_service.path):
        assert (
            short_timeout_service.http.post("/api/nodes/execute", json=body).json()["success"]
            is True
        )


# Full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a disk of 16 MB."""
    with small_disk(tmp_path, 16) as mounted:
        yield mounted


def test_a_full_disk_rejects_submissions_and_executions_wait(
    disk: Disk, tmp_path: Path, gates: Gates
) -> None:
    payload = {"text": "x" * 300_000}
    with RunningService(disk.path, PROBE_TYPES, prefect_home=tmp_path / "prefect") as service:
        running = service.start(GATED, inputs=payload)
        gates.wait_for("gate")
        before = row_counts(service)
        disk.fill()
        with capture_logs() as events:
            problem = problem_of(service.submit(inputs=payload), 507)
            assert "full" in problem["detail"]
            assert row_counts(service) == before
            gates.open("gate")
            wait_until(lambda: has_waited(events, "step_recording"))
            answer = service.poll(running)
            assert (answer["status"], answer["currentNodeId"]) == ("running", "gate")
            disk.make_space()
            done = service.ended(running)
        assert done["status"] == "completed"
        assert done["finalOutput"] == payload
        assert service.run(line(3), inputs=payload)["status"] == "completed"
        assert integrity(service.path) == "ok"
    assert integrity(disk.path / "database.sqlite") == "ok"


# Unavailable


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def prepare(path: Path) -> None:
    database = Database(url_of(path))
    try:
        await database.prepare()
    finally:
        await database.close()


async def test_a_read_only_database_is_rejected(disk: Disk) -> None:
    path = disk.path / "db.sqlite"
    await prepare(path)
    disk.make_read_only()
    with pytest.raises(StorageUnavailableError, match=r"readonly|unable to open"):
        await prepare(path)


async def test_a_read_only_disk_without_a_database_is_rejected(disk: Disk) -> None:
    disk.make_read_only()
    with pytest.raises(StorageUnavailableError, match="unable to open"):
        await prepare(disk.path / "db.sqlite")


async def test_a_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="unable to open"):
        await prepare(tmp_path)


async def test_a_damaged_database_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    await prepare(path)
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * 8_000 + content[8_200:])
    with pytest.raises(StorageUnavailableError, match="malformed"):
        await prepare(path)


@pytest.mark.parametrize("url", ["nonsense", "mystery://host/db", "postgresql+nodriver://h/db"])
def test_a_url_without_a_known_scheme_is_rejected(url: str) -> None:
    with pytest.raises(StorageUnavailableError, match="URL cannot be used"):
        Database(url)
