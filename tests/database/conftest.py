"""Databases to test on: a SQLite file, and PostgreSQL where a server answers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from database import Database, ExampleWorkflow
from tests.support.fake_clock import MovingClock
from tests.support.postgres import new_postgres_database


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
