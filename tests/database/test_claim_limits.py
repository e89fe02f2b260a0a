"""Claim limits: no worker claims more executions of a workflow or an organization than allowed."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine, event

from database import Database
from database.executions import dispatches, queue
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


def declares(limit: int | None) -> str:
    """Return a document that declares the limit."""
    return json.dumps({"nodes": [], "settings": {"maxConcurrentExecutions": limit}})


async def test_two_workers_claim_together_what_a_document_allows(workers: Workers) -> None:
    first, second = workers
    await save(first.database, "other")
    for number in range(6):
        await first.submit(f"e{number}", document=declares(2))
        await first.submit(f"o{number}", workflow_id="other")
    both = await asyncio.gather(claimed(first, 4), claimed(second, 4))
    assert sorted(both[0] + both[1]) == ["e0", "e1", *(f"o{number}" for number in range(6))]
    assert await claimed(first) == await claimed(second) == []


async def test_each_document_has_its_own_limit(workers: Workers) -> None:
    first, second = workers
    for name, limited in (("a", 1), ("b", 3), ("c", None), ("d", 3), ("e", 4)):
        await first.submit(name, document=declares(limited))
    # "c" has no limit and counts for the others of its workflow.
    assert await claimed(first, 3) == ["a", "b", "c"]
    assert await claimed(second) == ["e"]


async def test_the_smaller_one_of_two_limits_holds(workers: Workers) -> None:
    limit(workers, ExecutionLimits(per_workflow=1))
    for number in range(2):
        await workers[0].submit(f"e{number}", document=declares(5))
    assert await claimed(workers[0]) == ["e0"]


async def test_a_crashed_owner_counts_until_its_execution_returns(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    for number in range(2):
        await first.submit(f"e{number}", document=declares(1))
    (run,) = await first.database.queue.claim("first", 9, LEASE)
    assert (run.lease.execution_id, run.is_limited) == ("e0", True)
    clock.advance(0.9 * LEASE)
    assert await claimed(second) == []
    clock.advance(0.2 * LEASE)
    assert await claimed(second) == ["e0"]
    assert await claimed(first) == []


async def test_a_work_pool_gets_no_more_than_a_document_allows(workers: Workers) -> None:
    first, second = workers
    for name in ("a", "b"):
        await first.submit(name, document=declares(1))
    await first.submit("free")
    both = await asyncio.gather(
        first.database.dispatches.reserve(9, 9), second.database.dispatches.reserve(9, 9)
    )
    found = [dispatch.execution_id for batch in both for dispatch in batch]
    assert sorted(found) == ["a", "free"]
    assert await first.database.dispatches.claim("first", "a", LEASE, 3)
    assert first.database.dispatches.holds_back or second.database.dispatches.holds_back
    with pytest.raises(LimitReachedError):
        await second.database.dispatches.claim("second", "b", LEASE, 3)


async def test_executions_without_a_limit_take_no_lock(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise AssertionError

    for module in (queue, dispatches):
        monkeypatch.setattr(module, "lock_claims", fail)
    first, second = workers
    await first.submit("a")
    await first.submit("b")
    assert await claimed(first, 1) == ["a"]
    assert [each.execution_id for each in await second.database.dispatches.reserve(9, 9)] == ["b"]
    assert await second.database.dispatches.claim("second", "b", LEASE, 3)
    assert not first.database.queue.holds_back


async def test_claims_use_the_indexes_of_claimable_and_of_limited_executions(
    workers: Workers,
) -> None:
    database, statements = workers[0].database, list[tuple[str, Any]]()
    is_sqlite = database._url.startswith("sqlite")

    def record(_connection: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        if sql.startswith("SELECT"):
            statements.append((sql, values))

    await workers[0].submit("a")
    event.listen(Engine, "before_cursor_execute", record)
    try:
        assert await claimed(workers[0]) == ["a"]
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    search, order = [each for each in statements if "claimableAt" in each[0]]
    if not is_sqlite:
        return  # The plans of PostgreSQL depend on statistics.
    plans = [
        "".join(
            str(row[-1])
            for row in await database._access.reader.run(
                lambda connection, sql=sql, values=values: connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {sql}", values
                ).all()
            )
        )
        for sql, values in (search, order)
    ]
    assert "orchestrator_runs_limited (maxConcurrentExecutions>?)" in plans[0]
    assert "orchestrator_runs_claimable (claimableAt<?)" in plans[1]
    assert "workflow_executions" not in order[0]
    assert "SCAN orchestrator_runs" not in "".join(plans)
