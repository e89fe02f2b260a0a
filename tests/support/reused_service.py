"""Reused service: one running service for the tests of a module, emptied after each test.

A start takes longer than most tests. A service that a test leaves in another state than it found
it in, such as with a running execution, is stopped, and the next test gets a new one.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from api.dependencies import Services
from tests.support.prepared_databases import prepared_sqlite
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService, wait_until

_OPEN_WORK = (
    "SELECT 1 FROM workflow_executions"
    " WHERE status NOT IN ('completed', 'failed', 'cancelled') OR status IS NULL",
    "SELECT 1 FROM orchestrator_runs WHERE endedAt IS NULL OR owner IS NOT NULL",
    "SELECT 1 FROM orchestrator_callbacks WHERE deliveredAt IS NULL AND abandonedAt IS NULL",
)
"""Queries that return a row if the service may still write."""


class ReusedService:
    """The service of a module. ``take`` and ``put_back`` it for each test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        self._service: RunningService | None = None

    def take(self) -> RunningService:
        """Return a running service with an empty database."""
        if self._service is None:
            self._count += 1
            directory = self._directory / str(self._count)
            directory.mkdir()
            self._service = RunningService(directory, PROBE_TYPES).__enter__()
        return self._service

    def put_back(self) -> None:
        """Empty the database of the service, or stop the service if it cannot be reused."""
        if self._service is not None and not _is_reusable(self._service):
            self.stop()

    def stop(self) -> None:
        """Stop the service."""
        if self._service is not None:
            self._service.__exit__(None, None, None)
            self._service = None


def _is_reusable(service: RunningService) -> bool:
    if not service.is_running:
        return False
    try:
        with closing(sqlite3.connect(service.path, isolation_level=None)) as connection:
            return _is_intact(connection) and _becomes_idle(service) and _is_emptied(connection)
    except sqlite3.Error:  # a test has damaged the file
        return False


def _is_intact(connection: sqlite3.Connection) -> bool:
    """Return whether the schema is that of a new database, and all work has ended."""
    connection.execute("ATTACH ? AS prepared", (str(prepared_sqlite()),))
    schema = "SELECT type, name, sql FROM {}.sqlite_master ORDER BY type, name"
    found = connection.execute(schema.format("main")).fetchall()
    return found == connection.execute(schema.format("prepared")).fetchall() and not any(
        connection.execute(query).fetchone() for query in _OPEN_WORK
    )


def _becomes_idle(service: RunningService) -> bool:
    services: Services = service.app.state.services

    def is_idle() -> bool:
        return not (services.broadcaster.subscription_count or services.worker._state.active)

    try:
        return wait_until(is_idle, 1)
    except AssertionError:
        return False


def _is_emptied(connection: sqlite3.Connection) -> bool:
    """Restore the content of a new database."""
    connection.execute("PRAGMA secure_delete=ON")  # because some tests search the file
    tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type='table'").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    for (table,) in tables:
        connection.execute(f'DELETE FROM main."{table}"')
        connection.execute(f'INSERT INTO main."{table}" SELECT * FROM prepared."{table}"')
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True
