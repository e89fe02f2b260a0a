"""Process notifications: commits of one process are signalled in the others, on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, text
from structlog.testing import capture_logs

from database import Database
from database.connection import process_notifications
from database.connection.commit_signal import EVERY_CHANGE, Change, note_change
from database.connection.process_notifications import ProcessNotifications
from database.connection.urls import read_address
from database.connection.writer import Write
from tests.database.conftest import EXAMPLES
from tests.support.postgres import new_postgres_database
from tests.support.tcp_proxy import tcp_proxy_to
from tests.support.two_workers import DatabaseWorker


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Yield the URL of a prepared database."""
    async with new_postgres_database(EXAMPLES) as prepared:
        yield prepared


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def followed(database: Database) -> AsyncIterator[asyncio.Queue[Set[Change]]]:
    """Yield the changes of other processes, from the first connection on."""
    changes: asyncio.Queue[Set[Change]] = asyncio.Queue()
    task = asyncio.create_task(database.follow_other_processes(changes.put_nowait))
    try:
        assert await changes.get() == EVERY_CHANGE
        yield changes
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def noting(*changes: Change) -> Write[None]:
    def write(connection: Connection) -> None:
        for change in changes:
            note_change(connection, change)

    return write


async def test_a_process_is_notified_of_the_commits_of_others_only(url: str) -> None:
    async with opened(url) as own, opened(url) as other, followed(own) as changes:
        signalled: list[Set[Change]] = []
        own.commit_signal.connect(signalled.append)
        await own._access.writer.run(noting(Change.REQUESTS))
        await DatabaseWorker("other", other).submit("e")
        assert await changes.get() == {Change.EVENTS, Change.QUEUE}
        await other.queue.request_cancel("e")
        assert await changes.get() == {Change.EVENTS, Change.SLOTS}
        with pytest.raises(ZeroDivisionError):
            await other._access.writer.run(lambda c: (noting(Change.QUEUE)(c), 1 // 0))
        await other._access.writer.run(noting(Change.REQUESTS))
        assert await changes.get() == {Change.REQUESTS}
        assert changes.empty()
    # Own commits are signalled in this process without a notification.
    assert signalled[0] == {Change.REQUESTS}
    assert signalled[1:4] == [
        {Change.EVENTS, Change.QUEUE},
        {Change.EVENTS, Change.SLOTS},
        {Change.REQUESTS},
    ]


async def test_a_service_in_another_schema_is_not_notified(url: str) -> None:
    async with opened(url) as own, opened(url) as other, followed(own) as changes:
        await own._access.writer.run(lambda c: c.execute(text("CREATE SCHEMA another")) and None)
        async with opened(f"{url}?search_path=another") as foreign:
            await foreign._access.writer.run(noting(Change.QUEUE))
        await other._access.writer.run(noting(Change.REQUESTS))
        assert await changes.get() == {Change.REQUESTS}
        await own._access.writer.run(lambda c: c.execute(text("DROP SCHEMA another")) and None)


async def test_a_connection_that_hangs_is_replaced(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_notifications, "CHECK_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(process_notifications, "CHECK_TIMEOUT_SECONDS", 1.0)
    server = make_url(url)
    with tcp_proxy_to((server.host or "", server.port or 5432)) as proxy:
        proxied = server.set(host="127.0.0.1", port=proxy.port).render_as_string(False)
        async with opened(proxied) as own, opened(url) as other, followed(own) as changes:
            proxy.pause()
            assert await changes.get() == EVERY_CHANGE  # the connection is lost
            assert not own.commit_signal.includes_other_processes
            await other._access.writer.run(noting(Change.QUEUE))
            proxy.resume()
            assert await changes.get() == EVERY_CHANGE
            assert own.commit_signal.includes_other_processes


async def test_a_pooler_that_drops_notifications_is_detected(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_notifications, "CHECK_TIMEOUT_SECONDS", 0.2)

    class DroppingWriter:
        async def run(self, change: Write[Any]) -> None:
            """Lose the notification."""

        def close(self) -> None:
            """Do nothing."""

    async with opened(url) as own:
        changes: list[Set[Change]] = []
        writer: Any = DroppingWriter()
        arguments = read_address(url).arguments
        follower = ProcessNotifications(arguments, writer, own.commit_signal)
        with capture_logs() as logs:
            task = asyncio.create_task(follower.follow_forever(changes.append))
            while len(logs) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
        assert {entry["event"] for entry in logs} == {"notifications_unavailable"}
        assert "DATABASE_NOTIFICATIONS=false" in logs[0]["reason"]
        assert logs[1]["retry_in"] > logs[0]["retry_in"]
        assert changes == []


@pytest.mark.parametrize("address", ["sqlite:///x.sqlite", "postgresql://host/db?pgbouncer=true"])
async def test_without_listen_nothing_is_followed(address: str) -> None:
    database = Database.__new__(Database)
    database._url = address
    changes: list[Set[Change]] = []
    await database.follow_other_processes(changes.append)
    assert changes == []
