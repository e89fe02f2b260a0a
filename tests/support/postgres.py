"""New PostgreSQL databases for tests, where a server answers."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest

Storage = dict[str, Any]
"""Settings that say which database a service has. Without any it is a SQLite file in the service's
directory."""
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


@asynccontextmanager
async def new_postgres_database() -> AsyncIterator[str]:
    """The URL of a new PostgreSQL database, dropped afterwards; skips where no server answers."""
    try:
        server = await asyncpg.connect(POSTGRES, timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        pytest.skip(f"no PostgreSQL server answers (TEST_POSTGRES_URL): {error}")
    name = f"workflow_service_test_{uuid.uuid4().hex[:12]}"
    await server.execute(f"CREATE DATABASE {name}")
    try:
        base = POSTGRES.rsplit("/", 1)[0].replace("postgresql://", "postgresql+asyncpg://")
        yield f"{base}/{name}"
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


def on_both(fixture: str = "storage") -> pytest.MarkDecorator:
    """Has a test run on SQLite and on PostgreSQL; ``fixture`` hands its parameter to
    ``storage_on``.
    """
    return pytest.mark.parametrize(fixture, ["sqlite", "postgresql"], indirect=True)


@contextmanager
def storage_on(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """The database that the parameter of a fixture names: SQLite where it has none."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield {}
        return
    with asyncio.Runner() as runner:
        database = new_postgres_database()
        url = runner.run(database.__aenter__())
        try:
            yield {"database_url": url}
        finally:
            runner.run(database.__aexit__(None, None, None))
