"""Health checks: they return the truth about the database, the worker and the shutdown."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api import readiness
from api.dependencies import Services
from database.queries.statistics import PROBE
from tests.support.access import ENTRIES
from tests.support.postgres import on_both
from tests.support.service import RunningService, wait_until
from tests.support.statement_counter import counted_statements


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold SQLite's write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@pytest.fixture(autouse=True)
def _patient_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the checks the time that a busy machine needs."""
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 40.0)


@pytest.fixture
def fresh(
    _patient_checks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningService]:
    """A service of this test, whose checks are not reused and have a short timeout."""
    monkeypatch.setattr(readiness, "REUSE_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.3)
    with RunningService(tmp_path) as running:
        yield running


def services_of(service: RunningService) -> Services:
    return service.app.state.services


def problem_of(response: httpx.Response) -> str:
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"]
    assert response.json()["status"] == 503
    return response.json()["detail"]


def wait_unready(service: RunningService, reason: str) -> None:
    """Wait until the service is unready for this reason only; on a busy machine, all are slow."""
    wait_until(lambda: problem_of(service.http.get("/health/ready")) == reason)


@on_both()
def test_a_healthy_service_is_live_and_ready(service: RunningService):
    assert service.http.get("/health/live").json() == {"status": "live"}
    assert service.http.get("/health/ready").json() == {"status": "ready"}
    assert service.http.head("/health/ready").status_code == 200
    assert service.rows("SELECT value FROM orchestrator_metadata WHERE name = ?", PROBE)


def test_a_locked_database_makes_the_service_unready_until_it_is_unlocked(fresh: RunningService):
    with locked(fresh.path):
        wait_unready(fresh, "the database did not commit a write within 0.3 s")
        assert fresh.http.get("/health/live").status_code == 200
        # A check that hangs is not started again.
        assert "database" in problem_of(fresh.http.get("/health/ready"))
    wait_until(lambda: fresh.http.get("/health/ready").status_code == 200)


def test_an_unwritable_database_makes_the_service_unready(fresh: RunningService):
    fresh.write("ALTER TABLE orchestrator_metadata RENAME TO moved")
    wait_until(
        lambda: "the database cannot be written" in problem_of(fresh.http.get("/health/ready"))
    )
    fresh.write("ALTER TABLE moved RENAME TO orchestrator_metadata")
    wait_until(lambda: fresh.http.get("/health/ready").status_code == 200)


def test_a_blocked_worker_makes_the_service_unready(fresh: RunningService):
    released = threading.Event()

    async def block() -> None:
        released.wait(60)  # in the event loop of the worker

    blocked = services_of(fresh).worker.submit(block)
    try:
        wait_unready(fresh, "the worker did not respond within 0.3 s")
        assert fresh.http.get("/health/live").status_code == 200
    finally:
        released.set()
    blocked.result(20)
    wait_until(lambda: fresh.http.get("/health/ready").status_code == 200)


def test_a_stopped_worker_makes_the_service_unready_and_not_live(fresh: RunningService):
    asyncio.run(services_of(fresh).worker.stop(0))
    assert problem_of(fresh.http.get("/health/ready")) == "the worker has stopped"
    assert problem_of(fresh.http.get("/health/live")) == "the worker has ended"


def test_a_service_that_shuts_down_is_live_but_not_ready(fresh: RunningService):
    services_of(fresh).broadcaster.close()
    assert problem_of(fresh.http.get("/health/ready")) == "the service is shutting down"
    assert fresh.http.get("/health/live").status_code == 200


def test_many_checks_cause_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "REUSE_SECONDS", 60.0)
    with RunningService(tmp_path) as running, counted_statements() as counted:
        statuses = {running.http.get("/health/ready").status_code for _ in range(20)}
    assert statuses == {200}
    probes = [
        statement
        for transaction in counted.writing
        for statement in transaction
        if "orchestrator_metadata" in statement and statement.startswith("INSERT")
    ]
    assert len(probes) == 1


def test_health_checks_need_no_key(tmp_path: Path):
    with RunningService(tmp_path, api_keys=ENTRIES) as running:
        for path in ("/health/live", "/health/ready"):
            assert running.http.get(path).status_code == 200
