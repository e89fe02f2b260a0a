"""Claim limits: no worker claims more executions of a workflow or an organization than allowed."""

import asyncio
from collections import Counter

import pytest

from database import Database
from database.executions.dispatches import LimitReachedError
from database.tables import workflows
from engine.limits import ExecutionLimits
from tests.support.call_trees import DONE, LEASE
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import DatabaseWorker, Workers

PER_WORKFLOW = ExecutionLimits(per_workflow=2)
PER_ORGANIZATION = ExecutionLimits(per_organization=1)


def limit(workers: Workers, limits: ExecutionLimits) -> None:
    for worker in workers:
        worker.database.queue.limits = worker.database.dispatches.limits = limits


async def save(database: Database, workflow_id: str) -> None:
    row = {"id": workflow_id, "name": workflow_id, "data": "{}"}
    await database._access.writer.run(lambda c: c.execute(workflows.insert(), row) and None)


async def claimed(worker: DatabaseWorker, limit: int = 9) -> list[str]:
    return [lease.execution_id for lease in await worker.claim(limit)]


async def test_two_workers_claim_together_what_a_workflow_may_run(workers: Workers) -> None:
    limit(workers, PER_WORKFLOW)
    first, second = workers
    for number in range(6):
        await first.submit(f"e{number}")
    both = await asyncio.gather(claimed(first), claimed(second))
    assert sorted(both[0] + both[1]) == ["e0", "e1"]
    assert await claimed(first) == await claimed(second) == []


async def test_the_backlog_of_a_full_workflow_delays_no_other_one(workers: Workers) -> None:
    limit(workers, PER_WORKFLOW)
    first, second = workers
    await save(first.database, "other")
    for number in range(30):
        await first.submit(f"e{number}")
    for number in range(3):
        await first.submit(f"o{number}", workflow_id="other")
    assert await claimed(first) == ["e0", "e1", "o0", "o1"]
    assert await claimed(second) == []


async def test_an_end_and_a_wait_let_the_next_execution_start(workers: Workers) -> None:
    limit(workers, ExecutionLimits(per_workflow=1))
    first, second = workers
    for name in ("a", "b", "c"):
        await first.submit(name)
    lease = await first.claim_one()
    await first.database.journal.finish(lease, BEGUN, DONE)
    waiting = await second.claim_one()
    assert waiting.execution_id == "b"
    await second.park(waiting)
    assert await claimed(first) == ["c"]


async def test_an_organization_has_its_own_limit(workers: Workers) -> None:
    limit(workers, PER_ORGANIZATION)
    first, second = workers
    for organization in ("x", "y", None):
        for number in range(3):
            name = f"{organization}{number}"
            await first.submit(name, organization_id=organization)
    both = await asyncio.gather(claimed(first, 3), claimed(second, 9))
    found = Counter(name[:-1] for name in both[0] + both[1])
    assert found == {"x": 1, "y": 1, "None": 3}  # those without an organization are not limited


async def test_an_expired_lease_counts_until_it_returns_to_the_queue(
    workers: Workers, clock: MovingClock
) -> None:
    limit(workers, ExecutionLimits(per_workflow=1))
    first, second = workers
    await first.submit("a")
    await first.submit("b")
    assert await claimed(first) == ["a"]
    clock.advance(0.9 * LEASE)
    assert await claimed(second) == []
    clock.advance(0.2 * LEASE)
    assert await claimed(second) == ["a"]  # the oldest one, which the crashed owner had
    assert await claimed(second) == []


async def test_a_work_pool_gets_no_more_than_the_limit(workers: Workers) -> None:
    limit(workers, ExecutionLimits(per_workflow=1))
    first, second = workers
    for name in ("a", "b"):
        await first.submit(name)
    both = await asyncio.gather(
        first.database.dispatches.reserve(9, 9), second.database.dispatches.reserve(9, 9)
    )
    assert [dispatch.execution_id for found in both for dispatch in found] == ["a"]
    assert await first.database.dispatches.claim("first", "a", LEASE, 3)
    assert await second.database.dispatches.reserve(9, 9) == []
    with pytest.raises(LimitReachedError):
        await second.database.dispatches.claim("second", "b", LEASE, 3)
