"""Limits of retention: exact ages and numbers, and the rows that each deletion leaves."""

from typing import Any

import pytest
from sqlalchemy import Connection, update

from database import Database
from database.executions.callbacks import AttemptFailure
from database.maintenance import retention as retention_module
from database.tables import executions, payloads, runs
from tests.support.call_trees import LEASE, rows, submission, write
from tests.support.ended_executions import insert_rows
from tests.support.fake_clock import MovingClock
from tests.support.statements import recorded_statements

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

HOST = "a.example"


async def end(database: Database, *execution_ids: str, **values: Any) -> None:
    """Store executions that end at once."""
    for execution_id in execution_ids:
        await database.submissions.submit(submission(execution_id, **values))
        await database.queue.request_cancel(execution_id)


async def remaining(database: Database) -> list[str]:
    return sorted(row.id for row in await rows(database, executions))


async def test_an_execution_is_deleted_when_it_is_older_than_the_limit(
    database: Database, clock: MovingClock
) -> None:
    delete_expired = database.retention.delete_expired
    await end(database, "old")
    clock.advance(1)
    await end(database, "new")
    clock.advance(86_400 - 1)
    assert await delete_expired(1, None) == 0
    clock.advance(0.001)
    assert await delete_expired(1, None) == 1
    assert await remaining(database) == ["new"]
    assert await delete_expired(None, None) == 0


async def test_both_limits_apply_and_the_oldest_are_deleted_first(
    database: Database, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "BATCH_SIZE", 3)
    for number in range(7):
        await end(database, f"e{number}")
        clock.advance(60)
    two_minutes = 120 / 86_400
    assert await database.retention.delete_expired(two_minutes, 1) == 3
    assert await remaining(database) == ["e3", "e4", "e5", "e6"]
    # Two are too old, and the number leaves one: none is counted twice.
    assert await database.retention.delete_expired(two_minutes, 1) == 3
    assert await remaining(database) == ["e6"]
    assert await database.retention.delete_expired(two_minutes, 1) == 0


async def test_an_execution_stays_until_its_callback_is_settled(
    database: Database, clock: MovingClock
) -> None:
    await end(database, "pending", callback_url=f"http://{HOST}/")
    await end(database, "plain")
    clock.advance(1)
    assert await database.retention.delete_expired(None, 0) == 1
    assert await remaining(database) == ["pending"]
    assert await database.retention.delete_expired(None, 0) == 0
    attempt = await database.callbacks.claim("me", HOST, LEASE)
    assert attempt is not None
    await database.callbacks.record_failure(attempt, AttemptFailure("no", is_final=True), 1)
    assert await database.retention.delete_expired(None, 0) == 1


async def test_executions_are_counted_again_only_after_a_change(
    database: Database, clock: MovingClock
) -> None:
    delete_expired = database.retention.delete_expired

    async def reads(count: int) -> int:
        with recorded_statements() as statements:
            assert await delete_expired(None, count) == 0
        return len(statements)

    await end(database, "a", "b")
    first = await reads(2)
    assert await reads(2) == first - 1
    assert await reads(3) == first  # another limit
    await end(database, "c")
    assert await delete_expired(None, 2) == 1
    assert await reads(2) == first
    assert await reads(2) == first - 1


async def test_payloads_without_an_execution_are_deleted_part_by_part(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PAYLOADS_PER_SWEEP", 2)
    for name in "abcde":
        row = {"hash": name, "characters": 1, "bytes": 1, "preview": "0"}
        await insert_rows(database, {payloads: [row]})
    counts: list[int] = []
    for _ in range(3):
        await database.retention.delete_unused_payloads()
        counts.append(len(await rows(database, payloads)))
    assert counts == [3, 1, 0]


async def test_the_search_for_payloads_starts_again_after_the_last_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PAYLOADS_PER_SWEEP", 2)
    row = {"characters": 1, "bytes": 1, "preview": "0"}
    for _ in range(2):
        await insert_rows(database, {payloads: [{**row, "hash": "b"}]})
        await database.retention.delete_unused_payloads()
        assert await rows(database, payloads) == []
    await insert_rows(database, {payloads: [{**row, "hash": "a"}]})
    await database.retention.delete_unused_payloads()
    assert await rows(database, payloads) == []


async def free_pages(database: Database) -> int:
    def read(connection: Connection) -> int:
        return connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()

    return await database._access.reader.run(read)


async def test_a_file_shrinks_by_half_of_the_pages_that_it_needs_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.submissions.submit(submission("e"))
    await write(database, update(executions).values(nodeResults="x" * 400_000))
    await write(database, update(executions).values(nodeResults=None))
    free = await free_pages(database)
    assert free > 60
    monkeypatch.setattr(retention_module, "PAGES_PER_VACUUM", free + 1)
    assert await database.retention.vacuum() is False
    assert await free_pages(database) == free
    monkeypatch.setattr(retention_module, "PAGES_PER_VACUUM", free)
    assert await database.retention.vacuum() is True
    assert await free_pages(database) == free - free // 2


async def test_a_change_of_other_columns_does_not_count_executions_again(
    database: Database,
) -> None:
    await end(database, "a", "b")
    assert await database.retention.delete_expired(None, 2) == 0
    await write(database, update(runs).values(recoveries=1))
    with recorded_statements() as statements:
        assert await database.retention.delete_expired(None, 2) == 0
    assert len(statements) == 1
