"""A database that is locked, full or read-only: nothing is half-stored, and nothing is lost."""

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
from engine.errors import StorageUnavailableError
from tests.support.disks import Disk, small_disk
from tests.support.documents import document, line, node
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
    """Another process in the middle of a write."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", LOCK, str(path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"

    def release(self) -> None:
        """Lets it commit and end."""
        assert self._process.poll() is None
        self._process.communicate("go on\n", timeout=20)
        assert self._process.returncode == 0

    def close(self) -> None:
        """Ends it in any case."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Another process holds the write lock."""
    lock = Lock(path)
    try:
        yield lock
    finally:
        lock.close()


def ready_again(events: list[Any], operation: str) -> bool:
    """Return whether the log contains that ``operation`` had to wait."""
    return any(e["event"] == "database_unavailable" and e["operation"] == operation for e in events)


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()


# Locked


def test_a_lock_of_four_seconds_is_waited_for_and_polling_goes_on(
    service: RunningService, gates: Gates
) -> None:
    running = service.start(GATED)
    service.save(line(3), "other")
    gates.wait_for("gate")
    with locked(service.path) as lock, ThreadPoolExecutor() as pool:
        timer = threading.Timer(4.0, lock.release)
        timer.start()
        gates.open("gate")  # what runs has something to record now
        submissions = [pool.submit(service.submit, "other") for _ in range(5)]
        statuses: list[str] = []
        while timer.is_alive():
            answer = service.http.get(f"/api/executions/{running}")
            if timer.is_alive():  # a reader that waited for the lock would come too late
                statuses.append(answer.json()["status"])
                assert not any(submission.done() for submission in submissions)
        assert set(statuses) == {"running"}
        accepted = [submission.result() for submission in submissions]
    assert [answer.status_code for answer in accepted] == [200] * 5
    for execution_id in [running, *(answer.json()["executionId"] for answer in accepted)]:
        assert service.ended(execution_id)["status"] == "completed"


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """A service that waits for a lock half a second only."""
    monkeypatch.setattr("database.connection.engines.BUSY_TIMEOUT_MS", 500)
    with RunningService(tmp_path, PROBE_TYPES) as running:
        yield running


def test_locked_for_longer_submissions_are_put_off_and_executions_wait(
    impatient: RunningService, gates: Gates
) -> None:
    running = impatient.start(GATED)
    gates.wait_for("gate")
    before = row_counts(impatient)
    with locked(impatient.path) as lock, capture_logs() as events:
        gates.open("gate")
        wait_until(lambda: ready_again(events, "step_recording"))
        answer = impatient.submit()
        assert "busy" in problem_of(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert row_counts(impatient) == before
        assert impatient.poll(running)["status"] == "running"
        lock.release()
        assert impatient.ended(running)["status"] == "completed"
    assert impatient.run(line(3))["status"] == "completed"


def test_many_that_wait_for_a_lock_wait_together(impatient: RunningService) -> None:
    impatient.save(line(2))
    with locked(impatient.path), ThreadPoolExecutor(20) as pool:
        since = monotonic()
        assert impatient.submit().status_code == 503
        alone = monotonic() - since
        answers = list(pool.map(lambda _: impatient.submit(), range(20)))
        together = monotonic() - since - alone
    assert {answer.status_code for answer in answers} == {503}
    assert together < 10 * alone  # one after another it would be 20


def test_cancelling_is_put_off_too(impatient: RunningService, gates: Gates) -> None:
    running = impatient.start(GATED)
    gates.wait_for("gate")
    with locked(impatient.path) as lock:
        problem_of(impatient.http.post(f"/api/executions/{running}/cancel"), 503)
        lock.release()
    gates.open("gate")
    assert impatient.ended(running)["status"] == "completed"


def test_a_single_node_can_be_tried_out_while_the_database_is_locked(
    impatient: RunningService,
) -> None:
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "trigger", "node": {}}
    with locked(impatient.path):
        assert impatient.http.post("/api/nodes/execute", json=body).json()["success"] is True


# Full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 16 MB."""
    with small_disk(tmp_path, 16) as mounted:
        yield mounted


def test_on_a_full_disk_submissions_are_refused_and_executions_wait(
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
            wait_until(lambda: ready_again(events, "step_recording"))
            answer = service.poll(running)
            assert (answer["status"], answer["currentNodeId"]) == ("running", "gate")
            disk.make_space()
            done = service.ended(running)
        assert done["status"] == "completed"
        assert done["finalOutput"] == payload
        assert service.run(line(3), inputs=payload)["status"] == "completed"
        assert integrity(service.path) == "ok"
    assert integrity(disk.path / "database.sqlite") == "ok"


# Unusable


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def prepare(path: Path) -> None:
    database = Database(url_of(path))
    try:
        await database.prepare()
    finally:
        await database.close()


async def test_a_read_only_database_is_refused(disk: Disk) -> None:
    path = disk.path / "db.sqlite"
    await prepare(path)
    disk.make_read_only()
    with pytest.raises(StorageUnavailableError, match=r"readonly|unable to open"):
        await prepare(path)


async def test_a_read_only_disk_without_a_database_is_refused(disk: Disk) -> None:
    disk.make_read_only()
    with pytest.raises(StorageUnavailableError, match="unable to open"):
        await prepare(disk.path / "db.sqlite")


async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="unable to open"):
        await prepare(tmp_path)


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    await prepare(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 8_000 + whole[8_200:])
    with pytest.raises(StorageUnavailableError, match="malformed"):
        await prepare(path)


@pytest.mark.parametrize("url", ["nonsense", "mystery://host/db", "postgresql+nodriver://h/db"])
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(StorageUnavailableError, match="URL cannot be used"):
        Database(url)
