"""PostgreSQL for tests: an empty or a prepared database for each test, if a server responds.

A test with a prepared database gets the emptied database of an earlier test. Its deletion would
force a checkpoint of the server, which takes longer than most tests.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import chain
from typing import Any

import asyncpg
import pytest

from tests.support.postgres_content import Content
from tests.support.prepared_databases import DEFAULT_EXAMPLES, Examples, prepare
from tests.support.setup_selection import EMBEDDED, setup_of

Storage = dict[str, Any]
"""Settings that name the database of a service; by default, a SQLite file in its directory."""
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

_templates: dict[Examples, tuple[str, Content]] = {}
"""Names and contents of the migrated databases of this process, by the workflows in them."""

_emptied: dict[Examples, list[str]] = {}
"""Names of the databases that no test uses and that equal the template of these workflows."""

_connected: set[str] = set()
"""URLs of the databases whose service continues for the next test; see ``ReusedService``."""

_changed: set[str] = set()
"""URLs of the databases that a service may have changed after they were emptied."""


_END_OTHER_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def new_postgres_database(examples: Examples | None = None) -> AsyncIterator[str]:
    """Yield the URL of a PostgreSQL database that no other test uses; skip without a server.

    With ``examples``, it is a migrated database with these workflows.
    """
    if examples is None:
        async with _server() as server:
            name = await _create(server)
            try:
                yield _url(name)
            finally:
                await _drop(server, name)
        return
    name = await _prepared(examples)
    try:
        yield _url(name)
    finally:
        if await _is_restored(name, _templates[examples][1]):
            _emptied[examples].append(name)
        else:
            async with _server() as server:
                await _drop(server, name)


@asynccontextmanager
async def _server() -> AsyncIterator[asyncpg.Connection]:
    """Connect to the server, which takes as long as a short test; skip without a server."""
    try:
        server = await asyncpg.connect(POSTGRES, timeout=60)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        pytest.skip(f"no PostgreSQL server at TEST_POSTGRES_URL: {error}")
    try:
        yield server
    finally:
        await server.close()


async def _prepared(examples: Examples) -> str:
    """Return the name of a migrated database with these workflows that no other test uses."""
    emptied = _emptied.setdefault(examples, [])
    name = emptied.pop() if emptied else None
    if name is not None and _url(name) not in _changed:
        return name
    async with _server() as server:
        template, content = await _template(server, examples)
        if name is not None:
            if await _is_restored(name, content):
                return name
            await _drop(server, name)
        return await _create(server, template)


async def _create(server: asyncpg.Connection, template: str | None = None) -> str:
    name = f"workflow_service_test_{uuid.uuid4().hex[:12]}"
    await server.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    return name


async def _drop(server: asyncpg.Connection, name: str) -> None:
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _template(server: asyncpg.Connection, examples: Examples) -> tuple[str, Content]:
    if examples not in _templates:
        name = await _create(server)
        await prepare(_url(name), examples)
        connection = await asyncpg.connect(_dsn(name))
        try:
            _templates[examples] = name, await Content.read(connection)
        finally:
            await connection.close()
    return _templates[examples]


async def _is_restored(name: str, content: Content) -> bool:
    """Restore the content of a database, and return whether that was possible."""
    try:
        connection = await asyncpg.connect(_dsn(name))
        try:
            if _url(name) not in _connected:
                await connection.execute(_END_OTHER_CONNECTIONS)
            _changed.discard(_url(name))
            return await content.restore(connection)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError):  # a test has changed the database
        return False


def keep_connections(url: str) -> None:
    """Let a service use its database while it is emptied, and for the next test."""
    _connected.add(url)


def end_connections(url: str) -> None:
    """Empty the database again before the next test uses it, because its service has stopped."""
    _connected.discard(url)
    _changed.add(url)


def drop_templates() -> None:
    """Drop the prepared databases of this process."""

    async def drop() -> None:
        async with _server() as server:
            for name in (*(name for name, _ in _templates.values()), *chain(*_emptied.values())):
                await _drop(server, name)

    if _templates:
        asyncio.run(drop())


def _dsn(name: str) -> str:
    return f"{POSTGRES.rsplit('/', 1)[0]}/{name}"


def _url(name: str) -> str:
    return _dsn(name).replace("postgresql://", "postgresql+asyncpg://")


def on_both(fixture: str = "storage") -> pytest.MarkDecorator:
    """Run a test on SQLite and on PostgreSQL; ``fixture`` passes its parameter to `storage_on`."""
    return pytest.mark.parametrize(fixture, ["sqlite", "postgresql"], indirect=True)


@contextmanager
def storage_on(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Yield the database that the parameter of a fixture names.

    Without a parameter, it is SQLite in the embedded set-up, and PostgreSQL in the others.
    """
    is_embedded = setup_of(request.config) == EMBEDDED
    if is_embedded and getattr(request, "param", "sqlite") == "sqlite":
        yield {}
        return
    with asyncio.Runner() as runner:
        database = new_postgres_database(DEFAULT_EXAMPLES)
        url = runner.run(database.__aenter__())
        try:
            yield {"database_url": url}
        finally:
            runner.run(database.__aexit__(None, None, None))
