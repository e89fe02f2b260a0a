"""Lock order on PostgreSQL: every end of an execution locks the youngest relative first.

Two families whose members end in opposite order would otherwise wait for each other. Another
connection holds one row, so that each test decides which lock an operation takes next.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from sqlalchemy import Engine, event, update

from database import Database
from database.records import Lease
from database.tables import executions
from tests.support.call_trees import (
    DONE,
    FAILED,
    LEASE,
    calls,
    invariants_hold,
    status,
    write,
)
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import Workers, both

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


class Holder:
    """A connection that holds the row of one execution, as another service does."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._transaction = connection.transaction()

    async def hold(self, execution_id: str) -> None:
        """Lock the row of an execution."""
        await self._transaction.start()
        await self._connection.execute(
            'SELECT 1 FROM orchestrator_runs WHERE "executionId" = $1 FOR UPDATE', execution_id
        )

    async def release(self) -> None:
        """Release the row."""
        await self._transaction.rollback()

    async def free(self) -> set[str]:
        """Return the executions whose rows no transaction has locked."""
        rows = await self._connection.fetch(
            'SELECT "executionId" FROM orchestrator_runs FOR UPDATE SKIP LOCKED'
        )
        return {row[0] for row in rows}

    async def wait_for_waiters(self, count: int) -> None:
        """Wait until this number of transactions waits for locks."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(20):
            while (await self._connection.fetchval(waiting) or 0) < count:
                await self._connection.execute("SELECT pg_stat_clear_snapshot()")
                await asyncio.sleep(0.005)  # between two checks of the condition


async def connect(database: Database) -> asyncpg.Connection:
    return await asyncpg.connect(database._url.replace("+asyncpg", ""))


@pytest.fixture
async def holder(database: Database) -> AsyncIterator[Holder]:
    connection = await connect(database)
    yield Holder(connection)
    await connection.close()


@pytest.fixture
async def observer(database: Database) -> AsyncIterator[Holder]:
    """A second connection, because the first one ignores its own locks."""
    connection = await connect(database)
    yield Holder(connection)
    await connection.close()


@contextmanager
def counted_locks() -> Iterator[list[str]]:
    """Record the statements that lock relatives; a retried transaction repeats its statement."""
    found: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "ORDER BY orchestrator_runs.position DESC FOR UPDATE" in statement:
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", record)


async def family(workers: Workers, name: str) -> tuple[Lease, int, Lease]:
    """Create a running parent with a child that runs at the other worker."""
    first, second = workers
    parent = await first.start(f"{name} parent")
    seq = await calls(first.database, parent, f"{name} child")
    (run,) = await second.database.queue.claim(second.owner, 1, LEASE)
    return parent, seq, run.lease


async def finish_parent(workers: Workers, parent: Lease, seq: int) -> None:
    await workers[0].database.journal.finish(parent, seq, FAILED)


async def abandon_parent(workers: Workers, parent: Lease, seq: int) -> None:
    await workers[0].database.journal.abandon(parent, f"it crashed at {seq}")


async def cancel_parent(workers: Workers, parent: Lease, seq: int) -> None:
    assert seq
    await workers[0].database.journal.park(parent, None)
    await workers[1].database.queue.request_cancel(parent.execution_id)


async def settle_parent(workers: Workers, parent: Lease, seq: int) -> None:
    assert seq
    database = workers[0].database
    await database.journal.park(parent, None)
    own_row = executions.c.id == parent.execution_id
    await write(database, update(executions).where(own_row).values(status="cancelled"))
    assert await workers[1].database.queue.settle_foreign_ends() == 1


End = Callable[[Workers, Lease, int], Awaitable[None]]


@pytest.mark.parametrize("end", [finish_parent, abandon_parent, cancel_parent, settle_parent])
async def test_the_end_of_a_parent_locks_its_child_first(
    workers: Workers, holder: Holder, observer: Holder, end: End
) -> None:
    parent, seq, child = await family(workers, "a")
    await holder.hold(child.execution_id)
    with counted_locks() as locks:
        ending = asyncio.ensure_future(end(workers, parent, seq))
        await observer.wait_for_waiters(1)
        assert await observer.free() == {parent.execution_id}
        await holder.release()
        await ending
    assert len(locks) == 2  # for the execution and for its children, and without a retry
    assert await workers[1].database.queue.cancellations("second") == [child.execution_id]


async def test_the_end_of_a_child_locks_itself_before_its_parent(
    workers: Workers, holder: Holder, observer: Holder
) -> None:
    parent, _, child = await family(workers, "a")
    await holder.hold(parent.execution_id)
    ending = asyncio.ensure_future(workers[1].database.journal.finish(child, BEGUN, DONE))
    await observer.wait_for_waiters(1)
    assert await observer.free() == set()
    await holder.release()
    await ending
    assert await status(workers[0].database, child.execution_id) == "completed"


async def test_two_families_that_end_in_opposite_order_do_not_wait_for_each_other(
    workers: Workers, holder: Holder, observer: Holder
) -> None:
    first, second = workers
    older, seq, older_child = await family(workers, "older")
    younger, younger_seq, younger_child = await family(workers, "younger")
    await holder.hold(younger_child.execution_id)
    with counted_locks() as locks:
        endings = asyncio.ensure_future(
            both(
                first.database.journal.finish(younger, younger_seq, FAILED),
                second.database.journal.finish(younger_child, BEGUN, DONE),
            )
        )
        await observer.wait_for_waiters(2)
        # The other family ends in the opposite order, and waits for nothing.
        await second.database.journal.finish(older_child, BEGUN, DONE)
        await first.database.journal.finish(older, seq, FAILED)
        assert await observer.free() >= {younger.execution_id, older.execution_id}
        await holder.release()
        await endings
    assert len(locks) <= 5  # one for each end, and one for children that have not ended
    assert await invariants_hold(first.database)
