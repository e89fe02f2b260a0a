"""Advisory locks on PostgreSQL: the changes that count rows, or that order them, run in turn.

SQLite locks the whole file for each change. Another connection holds the lock, so that the test
decides which change waits.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from database import Database, payloads
from database.executions import claim_limits, event_log, permits, submissions
from database.executions.inputs import Submission
from database.executions.journal_records import NodeChanges, NodeEnded
from database.maintenance.retention import delete_executions
from database.records import Lease
from engine.limits import ExecutionLimits
from engine.outcome import Progress
from engine.status import NodeStatus
from tests.support.call_trees import LEASE, submission
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

LARGE = json.dumps("x" * 20_000)
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event = 'advisory'"
)

Operation = Callable[[], Awaitable[object]]


class Holder:
    """A connection that holds advisory locks, as another service does."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def waits(self, key: int, operation: Operation) -> bool:
        """Return whether an operation waits for the lock ``key``; complete it in both cases."""
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", key)
            task = asyncio.ensure_future(operation())
            async with asyncio.timeout(30):
                while not (waits := await self._has_waiter()) and not task.done():
                    await asyncio.sleep(0.002)  # between two checks of the condition
        await task
        return waits

    async def _has_waiter(self) -> bool:
        await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        return bool(await self._connection.fetchval(_WAITING))


@pytest.fixture
async def holder(database: Database) -> AsyncIterator[Holder]:
    connection = await asyncpg.connect(database._url.replace("+asyncpg", ""))
    yield Holder(connection)
    await connection.close()


async def submit(database: Database, *new: Submission) -> None:
    for each in new:
        await database.submissions.submit(each)


async def test_claims_under_a_limit_run_in_turn(database: Database, holder: Holder) -> None:
    key, queue, dispatches = claim_limits._CLAIM_LOCK, database.queue, database.dispatches
    await submit(database, *(submission(f"e{number}") for number in range(8)))

    def claim() -> Awaitable[object]:
        return queue.claim("me", 1, LEASE)

    def claim_dispatched(execution_id: str) -> Operation:
        return lambda: dispatches.claim("me", execution_id, LEASE, 9)

    def reserve() -> Awaitable[object]:
        return dispatches.reserve(9, 1)

    assert not await holder.waits(key, claim)
    assert not await holder.waits(key, claim_dispatched("e5"))
    assert not await holder.waits(key, reserve)
    queue.limits = dispatches.limits = ExecutionLimits(per_workflow=9)
    assert await holder.waits(key, claim)
    assert await holder.waits(key, claim_dispatched("e6"))
    assert await holder.waits(key, reserve)


async def test_other_changes_that_count_or_order_rows_run_in_turn(
    database: Database, holder: Holder
) -> None:
    await submit(database, submission("e"), submission("other"))
    (run, _) = await database.queue.claim("me", 2, LEASE)
    lease: Lease = run.lease

    def submit_limited(name: str, total: int | None, own: int | None) -> Operation:
        new = submission(name, organization_id="org")
        return lambda: database.submissions.submit(new, total, own)

    def release() -> Awaitable[object]:
        return database.queue.release(lease)

    def step() -> Awaitable[object]:
        ended = [NodeEnded("a", NodeStatus.COMPLETED, 1, LARGE, "{}")]
        changes = NodeChanges(ended=ended)
        return database.journal.record_step(lease, BEGUN, Progress(1, 1, 0, 0), None, changes)

    def request() -> Awaitable[object]:
        return database.permits.request(lease, "request", "a", {"limit": 1})

    def delete() -> Awaitable[object]:
        return database._access.writer.run(lambda connection: delete_executions(connection, ["e"]))

    queue_lock = submissions._QUEUE_LOCK
    assert not await holder.waits(queue_lock, submit_limited("s1", None, None))
    assert await holder.waits(queue_lock, submit_limited("s2", 9, None))
    assert await holder.waits(queue_lock, submit_limited("s3", None, 9))
    # Three wait, and so many transactions as are allowed cannot be in progress at the same time.
    few = submissions.MAX_TRANSACTIONS
    assert not await holder.waits(queue_lock, submit_limited("s4", few + 4, few + 99))
    assert await holder.waits(queue_lock, submit_limited("s5", few + 4, few + 99))
    assert await holder.waits(queue_lock, submit_limited("s6", few + 99, few))
    assert await holder.waits(permits._PERMIT_LOCK, request)
    assert await holder.waits(payloads._LOCK, step)
    assert await holder.waits(event_log._ORDER_LOCK, submit_limited("s7", None, None))
    assert await holder.waits(event_log._ORDER_LOCK, release)
    assert await holder.waits(payloads._LOCK, delete)
