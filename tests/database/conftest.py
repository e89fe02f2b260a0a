"""Database fixtures: a SQLite file, and PostgreSQL if a server is reachable."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from database import Database, ExampleWorkflow
from tests.support.fake_clock import MovingClock
from tests.support.postgres import new_postgres_database
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.two_workers import DatabaseWorker, Workers

EXAMPLES = (ExampleWorkflow("w", "A workflow", "{}"),)


@pytest.fixture
async def postgres_url() -> AsyncIterator[str]:
    """Yield the URL of a new PostgreSQL database."""
    async with new_postgres_database() as url:
        yield url


@pytest.fixture
def clock() -> MovingClock:
    """Return a clock that only the test moves."""
    return MovingClock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, clock: MovingClock
) -> AsyncIterator[Database]:
    """Yield a prepared database with one workflow, ``w``."""
    async with AsyncExitStack() as stack:
        if request.param == "postgresql":
            url = await stack.enter_async_context(new_postgres_database(EXAMPLES))
        else:
            url = f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}"
            copy_prepared_sqlite(tmp_path / "db.sqlite", EXAMPLES)
        database = Database(url, clock)
        stack.push_async_callback(database.close)
        yield database


@pytest.fixture
async def workers(database: Database, clock: MovingClock) -> AsyncIterator[Workers]:
    """Yield two workers of different processes that share one database."""
    second = Database(database._url, clock)
    try:
        yield DatabaseWorker("first", database), DatabaseWorker("second", second)
    finally:
        await second.close()
