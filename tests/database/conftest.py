"""Databases to test on: a SQLite file, and PostgreSQL where a server answers."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from database import Database, ExampleWorkflow
from tests.moving_clock import MovingClock

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


@pytest.fixture
async def postgres_url() -> AsyncIterator[str]:
    """The URL of a new PostgreSQL database."""
    async with new_postgres_database() as url:
        yield url


@pytest.fixture
def clock() -> MovingClock:
    """A clock that stands still until the test moves it."""
    return MovingClock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, clock: MovingClock
) -> AsyncIterator[Database]:
    """A prepared database with one workflow, ``w``."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}"
        if request.param == "postgresql":
            url = await stack.enter_async_context(new_postgres_database())
        database = Database(url, clock)
        stack.push_async_callback(database.close)
        await database.prepare([ExampleWorkflow("w", "A workflow", "{}")])
        yield database
