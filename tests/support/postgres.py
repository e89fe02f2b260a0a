"""PostgreSQL for tests: an empty or a prepared database for each test, if a server responds.

A test with a prepared database gets the emptied database of an earlier test. Its deletion would
force a checkpoint of the server, which takes longer than most tests.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from itertools import chain
from typing import Any

import asyncpg
import pytest

from tests.support.postgres_content import Content
from tests.support.postgres_server import TEMPLATE, connected, create, drop, drop_all, dsn
from tests.support.prepared_databases import (
    DEFAULT_EXAMPLES,
    Examples,
    made_once,
    prepare,
    session_file,
)
from tests.support.setup_selection import EMBEDDED, setup_of

Storage = dict[str, Any]
"""Settings that name the database of a service; by default, a SQLite file in its directory."""

_templates: dict[Examples, tuple[str, Content]] = {}
"""Names and contents of the migrated databases of the session, by the workflows in them."""

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
        async with connected() as server:
            name = await create(server)
            try:
                yield _url(name)
            finally:
                await drop(server, name)
        return
    name = await _prepared(examples)
    try:
        yield _url(name)
    finally:
        if await _is_restored(name, _templates[examples][1]):
            _emptied[examples].append(name)
        else:
            async with connected() as server:
                await drop(server, name)


async def _prepared(examples: Examples) -> str:
    """Return the name of a migrated database with these workflows that no other test uses."""
    emptied = _emptied.setdefault(examples, [])
    name = emptied.pop() if emptied else None
    if name is not None and _url(name) not in _changed:
        return name
    async with connected() as server:
        template, content = await _template(server, examples)
        if name is not None:
            if await _is_restored(name, content):
                return name
            await drop(server, name)
        return await create(server, template)


async def _template(server: asyncpg.Connection, examples: Examples) -> tuple[str, Content]:
    """Return the name and the content of the migrated database with these workflows."""
    if examples not in _templates:
        path = session_file(TEMPLATE, examples, "json")
        with made_once(path) as unfinished:
            if unfinished is not None:
                name, content = await _new_template(server, examples)
                unfinished.write_text(json.dumps([name, asdict(content)]), encoding="utf-8")
        name, content = json.loads(path.read_text(encoding="utf-8"))
        _templates[examples] = name, Content(**content)
    return _templates[examples]


async def _new_template(server: asyncpg.Connection, examples: Examples) -> tuple[str, Content]:
    name = await create(server)
    await prepare(_url(name), examples)
    connection = await asyncpg.connect(dsn(name))
    try:
        return name, await Content.read(connection)
    finally:
        await connection.close()


async def _is_restored(name: str, content: Content) -> bool:
    """Restore the content of a database, and return whether that was possible."""
    try:
        connection = await asyncpg.connect(dsn(name))
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


def drop_emptied() -> None:
    """Drop the databases that this process has emptied."""
    drop_all(chain(*_emptied.values()))


def _url(name: str) -> str:
    return dsn(name).replace("postgresql://", "postgresql+asyncpg://")


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
