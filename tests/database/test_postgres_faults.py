"""PostgreSQL errors: conflicts are retried, and values that cannot be stored are not."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import Connection, make_url, text, update

from database import Database, ExampleWorkflow
from database.connection import engines
from database.connection.writer import MAX_ATTEMPTS
from database.tables import workflows
from engine.errors import StorageBusyError, StorageError, UnsupportedValueError
from tests.support.incompressible import MAX_INDEX_ENTRY_BYTES, incompressible
from tests.support.ports import free_port
from tests.support.tcp_proxy import tcp_proxy_to

EXAMPLES = [ExampleWorkflow(i, "before", "{}") for i in ("a", "b")]


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    await database.prepare(EXAMPLES)
    yield database
    await database.close()


def rename(connection: Connection, workflow_id: str) -> None:
    connection.execute(
        update(workflows).where(workflows.c.id == workflow_id).values(name=f"ours {workflow_id}")
    )


async def test_a_change_runs_again_after_a_deadlock(database: Database, postgres_url: str) -> None:
    attempts: list[str] = []
    begun = asyncio.Event()

    def change(connection: Connection) -> None:
        attempts.append("attempt")
        rename(connection, "a")
        begun.set()
        rename(connection, "b")

    other = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await other.execute("SET deadlock_timeout='20s'")  # it is the service's that is undone
    theirs = other.transaction()
    await theirs.start()
    await other.execute("UPDATE workflows SET name='theirs' WHERE id='b'")
    ours = asyncio.create_task(database._access.writer.run(change))
    await begun.wait()
    await other.execute("UPDATE workflows SET name='theirs' WHERE id='a'")
    await theirs.commit()
    await ours
    names = await other.fetch("SELECT name FROM workflows ORDER BY id")
    await other.close()
    assert [row["name"] for row in names] == ["ours a", "ours b"]
    assert len(attempts) >= 2  # more under load


@pytest.mark.parametrize("code", ["40P01", "40001"])
async def test_a_change_that_always_conflicts_fails(database: Database, code: str) -> None:
    attempts: list[str] = []

    def change(connection: Connection) -> None:
        attempts.append("attempt")
        rename(connection, "a")
        connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '{code}'; END $$")
        )

    with pytest.raises(StorageBusyError):
        await database._access.writer.run(change)
    assert len(attempts) == MAX_ATTEMPTS
    assert (await database.queries.workflow("a")).name == "before"


@pytest.mark.parametrize(
    "value", ["a\0b", incompressible(2 * MAX_INDEX_ENTRY_BYTES)], ids=["NUL", "too long"]
)
async def test_an_unsupported_value_is_not_a_temporary_error(
    database: Database, value: str
) -> None:
    attempts: list[str] = []

    def change(connection: Connection) -> None:
        attempts.append("attempt")
        connection.execute(workflows.insert().values(id=value, name="n", data="{}"))

    with pytest.raises(UnsupportedValueError, match="The database cannot store a value"):
        await database._access.writer.run(change)
    assert attempts == ["attempt"]


async def test_a_transaction_of_an_unreachable_process_returns_its_locks(
    database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "IDLE_TRANSACTION_TIMEOUT_MS", 1_000)
    server = make_url(postgres_url)
    with tcp_proxy_to((server.host or "", server.port or 5432)) as proxy:
        url = server.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        cut = Database(f"{url}?command_timeout=1")

        def change(connection: Connection) -> None:
            rename(connection, "a")
            proxy.pause()
            rename(connection, "b")

        try:
            with pytest.raises(StorageError, match="did not respond in time"):
                await cut._access.writer.run(change)
            await database._access.writer.run(lambda connection: rename(connection, "a"))
        finally:
            proxy.resume()
            await cut.close()


async def test_an_unreachable_server_raises_a_storage_error() -> None:
    database = Database(f"postgresql+asyncpg://user@127.0.0.1:{free_port()}/none")
    for operation in (database.is_prepared(), database.prepare()):
        with pytest.raises(StorageError, match="cannot be reached"):
            await operation
    await database.close()
