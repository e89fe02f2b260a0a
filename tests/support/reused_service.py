"""Reused service: one running service for the tests of a module, emptied after each test.

A start and a stop take longer than most tests. After a test, the service ends the work that it can
end. A service that a test leaves in another state than it found it in, such as with a waiting node,
is stopped, and the next test gets a new one. Its PostgreSQL database is emptied by the fixture that
lends it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from api.dependencies import Services
from tasks.registry import NodeTypes
from tests.support.postgres import Storage, end_connections, keep_connections
from tests.support.prepared_databases import prepared_sqlite
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import subscription_count

_RUNNING = (
    "SELECT 1 FROM workflow_executions WHERE status IN ('pending', 'running')",
    "SELECT 1 FROM orchestrator_runs WHERE endedAt IS NULL OR owner IS NOT NULL",
)
"""Queries that return a row if the service works."""

_LEFT = (
    "SELECT 1 FROM workflow_executions WHERE status IS NULL"
    " OR status NOT IN ('pending', 'running', 'completed', 'failed', 'cancelled')",
    "SELECT 1 FROM orchestrator_callbacks WHERE deliveredAt IS NULL AND abandonedAt IS NULL",
)
"""Queries that return a row if the service may work later."""

_END_SECONDS = 2.0
"""Timeout for the end of the work that a test has left, in seconds."""


class ReusedService:
    """The service of a module, which ``lend`` yields to each test."""

    def __init__(
        self, directory: Path, node_types: NodeTypes = PROBE_TYPES, **settings: object
    ) -> None:
        self._directory = directory
        self._node_types = node_types
        self._settings = settings
        self._count = 0
        self._services: dict[str, RunningService] = {}
        """By the URL of their PostgreSQL database; that of a SQLite file is empty."""

    @contextmanager
    def lend(self, storage: Storage) -> Iterator[RunningService]:
        """Yield the service with an empty database; each kind of database has its own service."""
        url: str = storage.get("database_url", "")
        if url and url not in self._services:
            self._stop(*filter(None, self._services))
        if url not in self._services:
            self._services[url] = self._new_service(**storage).__enter__()
        service = self._services[url]
        yield service
        if not _is_reusable(service):
            self._stop(url)
        elif url:
            keep_connections(url)

    def _new_service(self, **storage: object) -> RunningService:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return RunningService(directory, self._node_types, **self._settings, **storage)

    def stop(self) -> None:
        """Stop the services."""
        self._stop(*self._services)

    def _stop(self, *urls: str) -> None:
        for url in urls:
            self._services.pop(url).__exit__(None, None, None)
            if url:
                end_connections(url)


def _is_reusable(service: RunningService) -> bool:
    if not service.is_running:
        return False
    try:
        if service.settings.database_url is not None:
            return _becomes_idle(service, service.rows)
        with closing(sqlite3.connect(service.path, isolation_level=None)) as connection:

            def rows(query: str) -> list[Any]:
                return connection.execute(query).fetchall()

            return (
                rows(_SCHEMA) == _prepared_schema()
                and _becomes_idle(service, rows)
                and _is_emptied(connection)
            )
    except (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False  # a test has damaged the database


def _becomes_idle(service: RunningService, rows: Callable[[str], Sequence[object]]) -> bool:
    services: Services = service.app.state.services

    def finds(*queries: str) -> bool:
        return any(rows(f"{query} LIMIT 1") for query in queries)

    def is_idle() -> bool:
        return not (
            subscription_count(services.broadcaster)
            or services.worker._state.active
            or finds(*_RUNNING)
        )

    try:
        return not finds(*_LEFT) and wait_until(is_idle, _END_SECONDS) and not finds(*_LEFT)
    except AssertionError:
        return False


_SCHEMA = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"


@cache
def _prepared_schema() -> list[Any]:
    with closing(sqlite3.connect(prepared_sqlite())) as connection:
        return connection.execute(_SCHEMA).fetchall()


@cache
def _prepared_rows() -> dict[str, list[Any]]:
    """Return the rows of each table of a new database."""
    tables = [name for kind, name, _ in _prepared_schema() if kind == "table"]
    with closing(sqlite3.connect(prepared_sqlite())) as connection:
        return {table: _rows_of(connection, table) for table in tables}


def _rows_of(connection: sqlite3.Connection, table: str) -> list[Any]:
    return connection.execute(f'SELECT * FROM "{table}"').fetchall()


def _is_emptied(connection: sqlite3.Connection) -> bool:
    """Restore the content of a new database."""
    connection.execute("PRAGMA secure_delete=ON")  # because some tests search the file
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN IMMEDIATE")
    for table, rows in _prepared_rows().items():
        if rows:
            if _rows_of(connection, table) == rows:
                continue
        elif connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is None:
            continue
        connection.execute(f'DELETE FROM "{table}"')
        for row in rows:
            connection.execute(f'INSERT INTO "{table}" VALUES ({",".join("?" * len(row))})', row)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True
