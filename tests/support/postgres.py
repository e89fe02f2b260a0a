"""PostgreSQL for tests: creates a new database for each test, if a server responds."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest

from tests.support.prepared_databases import DEFAULT_EXAMPLES, Examples, prepare

Storage = dict[str, Any]
"""Settings that name the database of a service; by default, a SQLite file in its directory."""
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

_templates: dict[Examples, str] = {}
"""Names of the migrated databases of this process, by the workflows in them."""


@asynccontextmanager
async def new_postgres_database(examples: Examples | None = None) -> AsyncIterator[str]:
    """Yield the URL of a new PostgreSQL database, and drop it afterwards; skip without a server.

    With ``examples``, it is a copy of a migrated database with these workflows.
    """
    try:
        server = await asyncpg.connect(POSTGRES, timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        pytest.skip(f"no PostgreSQL server at TEST_POSTGRES_URL: {error}")
    try:
        template = "" if examples is None else f" TEMPLATE {await _template(server, examples)}"
        name = _new_name()
        await server.execute(f"CREATE DATABASE {name}{template}")
        try:
            yield _url(name)
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


async def _template(server: asyncpg.Connection, examples: Examples) -> str:
    if examples not in _templates:
        name = _new_name()
        await server.execute(f"CREATE DATABASE {name}")
        _templates[examples] = name
        await prepare(_url(name), examples)
    return _templates[examples]


def drop_templates() -> None:
    """Drop the migrated databases of this process."""

    async def drop() -> None:
        server = await asyncpg.connect(POSTGRES, timeout=3)
        try:
            for name in _templates.values():
                await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await server.close()

    if _templates:
        asyncio.run(drop())


def _new_name() -> str:
    return f"workflow_service_test_{uuid.uuid4().hex[:12]}"


def _url(name: str) -> str:
    base = POSTGRES.rsplit("/", 1)[0].replace("postgresql://", "postgresql+asyncpg://")
    return f"{base}/{name}"


def on_both(fixture: str = "storage") -> pytest.MarkDecorator:
    """Run a test on SQLite and on PostgreSQL; ``fixture`` passes its parameter to `storage_on`."""
    return pytest.mark.parametrize(fixture, ["sqlite", "postgresql"], indirect=True)


@contextmanager
def storage_on(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Yield the database that the parameter of a fixture names; without a parameter, SQLite."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield {}
        return
    with asyncio.Runner() as runner:
        database = new_postgres_database(DEFAULT_EXAMPLES)
        url = runner.run(database.__aenter__())
        try:
            yield {"database_url": url}
        finally:
            runner.run(database.__aexit__(None, None, None))
