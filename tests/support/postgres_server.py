"""PostgreSQL server: connections to it and its databases, without imports of the service."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

TEMPLATE = "postgresql-template"
"""Start of the names of the files that name the migrated databases of the session."""


@asynccontextmanager
async def connected() -> AsyncIterator[asyncpg.Connection]:
    """Connect to the server, which takes as long as a short test; skip without a server."""
    try:
        server = await asyncpg.connect(POSTGRES, timeout=60)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        pytest.skip(f"no PostgreSQL server at TEST_POSTGRES_URL: {error}")
    try:
        yield server
    finally:
        await server.close()


async def create(server: asyncpg.Connection, template: str | None = None) -> str:
    """Create a database, and return its name."""
    name = f"workflow_service_test_{uuid.uuid4().hex[:12]}"
    await server.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    return name


async def drop(server: asyncpg.Connection, name: str) -> None:
    """Drop a database and end its connections."""
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def drop_templates(directory: Path) -> None:
    """Drop the templates of the session with this temporary directory."""
    files = directory.glob(f"{TEMPLATE}-*.json")
    drop_all(json.loads(path.read_text(encoding="utf-8"))[0] for path in files)


def drop_all(names: Iterable[str]) -> None:
    """Drop the databases with these names."""

    async def work(names: Sequence[str]) -> None:
        async with connected() as server:
            for name in names:
                await drop(server, name)

    if found := [*names]:
        asyncio.run(work(found))


def dsn(name: str) -> str:
    """Return the address of a database."""
    return f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
