"""Permits: node runs of all workers take turns, and crashed owners give their permits back."""

import asyncio
import random
from collections.abc import Set
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, update

from database import Database
from database.connection.commit_signal import Change
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.records import Lease
from database.tables import executions, permits
from engine.errors import LeaseLostError, NotWaitingError
from engine.parking import ParkedPermit, Resumption
from engine.status import NodeStatus
from tests.support.call_trees import LEASE, rows
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import ASK, BEGINS, DatabaseWorker, Workers

GPU = {"key:gpu": 1}


async def two_leases(workers: Workers) -> tuple[Lease, Lease]:
    """Let each worker claim one execution."""
    first, second = workers
    return await first.start("one"), await second.start("two")


def request(
    worker: DatabaseWorker, lease: Lease, name: str, limits: dict[str, int], node: str = "node"
) -> Any:
    return worker.database.permits.request(lease, name, node, limits)


async def wait_parked(worker: DatabaseWorker, lease: Lease, before: Any = None) -> None:
    """Let the node ``ask`` wait for a permit, and park its execution."""
    record = worker.database.journal.record_step
    started = NodeChanges(started=[NodeStarted(ASK, "null", 1, resumed=False)])
    seq = await record(lease, BEGUN, BEGINS, "ask", started)
    assert not await request(worker, lease, "parked", GPU, node="ask")
    waits = NodeEnded("ask", NodeStatus.WAITING, 1, waiting_since="2026-01-01T00:00:00.000Z")
    await record(lease, seq, BEGINS, "ask", NodeChanges(ended=[waits]))
    if before is not None:
        await before()
    await worker.database.journal.park(lease, None, ["ask"])


async def test_requests_are_granted_in_their_order(workers: Workers) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    granted = [
        await request(first, own, "a", GPU),
        await request(second, other, "b", GPU),
        await request(first, own, "c", GPU),
    ]
    assert granted == [True, False, False]
    waiting = ["b", "c"]
    assert await first.database.permits.grant(waiting) == set()
    await first.database.permits.release("a")
    assert await second.database.permits.grant(waiting) == {"b"}
    await second.database.permits.release("c")  # a cancelled node withdraws its request
    await second.database.permits.release("b")
    assert await request(first, own, "d", GPU)


async def test_a_request_of_two_limits_holds_nothing_while_it_waits(workers: Workers) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    assert not await request(second, other, "both", {**GPU, "type:http": 2})
    assert await request(first, own, "c", {"type:http": 2})
    # It would take the place of the older request.
    assert not await request(first, own, "d", {"type:http": 2})
    await first.database.permits.release("a")
    assert await first.database.permits.grant(["both", "d"]) == {"both"}
    await first.database.permits.release("c")
    assert await first.database.permits.grant(["d"]) == {"d"}


async def test_a_lower_limit_applies_to_new_requests(workers: Workers) -> None:
    first, _ = workers
    own, _ = await two_leases(workers)
    for name in ("a", "b"):
        assert await request(first, own, name, {"type:http": 2})
    assert not await request(first, own, "c", {"type:http": 1})
    await first.database.permits.release("b")
    assert await first.database.permits.grant(["c"]) == set()
    await first.database.permits.release("a")
    assert await first.database.permits.grant(["c"]) == {"c"}


async def test_a_crashed_owner_holds_its_permits_until_its_lease_ends(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    assert not await request(second, other, "b", GPU)
    clock.advance(0.9 * LEASE)
    await second.database.queue.renew("second", ["two"], LEASE)
    assert await second.claim() == []
    assert await second.database.permits.grant(["b"]) == set()
    clock.advance(0.2 * LEASE)
    assert [lease.execution_id for lease in await second.claim()] == ["one"]
    assert await second.database.permits.grant(["b"]) == {"b"}
    with pytest.raises(LeaseLostError):
        await request(first, own, "c", GPU)


async def test_a_repeated_request_has_one_row(workers: Workers) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    for _ in range(2):
        assert await request(first, own, "a", GPU)
    assert not await request(second, other, "b", GPU)
    await first.database.permits.release("a")
    assert await second.database.permits.grant(["b"]) == {"b"}


async def test_a_deleted_execution_keeps_its_permits_for_one_lease(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    assert not await request(second, other, "b", GPU)
    await first.database._access.writer.run(
        lambda c: c.execute(delete(executions).where(executions.c.id == "one")) and None
    )
    orphans = second.database.permits
    assert await orphans.delete_orphaned(LEASE) == 0
    clock.advance(0.9 * LEASE)
    assert await orphans.delete_orphaned(LEASE) == 0
    assert await orphans.grant(["b"]) == set()
    clock.advance(0.2 * LEASE)
    assert await orphans.delete_orphaned(LEASE) == 1
    assert await orphans.grant(["b"]) == {"b"}


async def test_a_parked_request_keeps_its_position_and_wakes_its_execution(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    await wait_parked(second, other)
    assert not await request(first, own, "later", GPU, node="later")
    clock.advance(2 * LEASE)  # no owner renews a parked execution
    await first.database.queue.renew("first", ["one"], LEASE)
    assert await first.database.permits.delete_orphaned(LEASE) == 0
    assert await first.database.permits.wake()
    assert await first.database.find_violations(service_runs=True) == []
    with pytest.raises(NotWaitingError, match="it is queued for a permit"):
        await first.database.journal.resume("two", "ask", Resumption())
    assert await second.claim() == []
    await first.database.permits.release("a")
    for worker in workers:
        assert await worker.database.permits.wake()
    assert await first.database.permits.grant(["later"]) == set()
    again = await second.claim_one()
    assert again.execution_id == "two"
    state = await second.database.journal.load(again)
    assert [type(node) for node in state.parked.values()] == [ParkedPermit]
    assert state.attempts == {}
    assert await request(second, again, "again", GPU, node="ask")
    assert not await first.database.permits.wake()
    await second.database.permits.release("again")
    assert await first.database.permits.grant(["later"]) == {"later"}


async def test_a_node_takes_over_its_own_parked_request_only(workers: Workers) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    for node in ("front", "back"):
        assert not await request(second, other, f"parked {node}", GPU, node=node)
    await second.database.journal.park(other, None, ["front", "back"])
    await first.database.permits.release("a")
    await first.database.permits.wake()

    async def granted() -> dict[str, bool]:
        found = await rows(first.database, permits)
        return {row.request: row.grantedAt is not None for row in found}

    assert await granted() == {"parked front": True, "parked back": False}
    again = await second.claim_one()
    assert await request(second, again, "again", GPU, node="front")
    assert await granted() == {"again": True, "parked back": False}


@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_permit_that_returns_before_the_parking_is_not_missed(
    workers: Workers, is_granted: bool
) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    changes: list[Set[Change]] = []
    second.database.commit_signal.connect(changes.append)

    async def give_back() -> None:
        await first.database.permits.release("a")
        if is_granted:
            assert await second.database.permits.grant(["parked"]) == {"parked"}

    await wait_parked(second, other, before=give_back)
    while not any(Change.PERMITS in found for found in changes):
        await asyncio.sleep(0.001)  # the signal follows the commit
    assert (await second.claim_one()).execution_id == "two"


@pytest.mark.parametrize("end", ["cancelled", "ended elsewhere"])
async def test_a_parked_execution_that_ends_leaves_its_turn(workers: Workers, end: str) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    await wait_parked(second, other)
    if end == "cancelled":
        await first.database.queue.request_cancel("two")
    else:
        ended = update(executions).where(executions.c.id == "two").values(status="failed")
        await first.database._access.writer.run(lambda c: c.execute(ended) and None)
        assert await first.database.queue.settle_foreign_ends() == 1
    await first.database.permits.release("a")
    assert await request(first, own, "b", GPU)
    assert await first.database.find_violations(service_runs=True) == []


async def test_a_parked_request_of_other_limits_begins_again(workers: Workers) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    await wait_parked(second, other)
    await first.database.permits.release("a")
    await second.database.permits.wake()
    again = await second.claim_one()
    assert await request(second, again, "again", {"type:ask": 1}, node="ask")
    assert await request(first, own, "b", GPU)


async def test_a_crashed_owner_of_parked_requests_returns_them(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    own, other = await two_leases(workers)
    assert await request(first, own, "a", GPU)
    await wait_parked(second, other)
    await first.database.permits.release("a")
    await second.database.permits.wake()
    assert (await second.claim_one()).execution_id == "two"
    clock.advance(2 * LEASE)
    await first.database.queue.renew("first", ["one"], LEASE)
    assert (await first.claim_one()).execution_id == "two"
    assert await request(first, own, "b", GPU)


async def test_random_requests_never_exceed_their_limits(workers: Workers) -> None:
    leases = await two_leases(workers)
    choices = random.Random(14)
    capacities = {"type:http": 3, "key:gpu": 1}
    held = dict.fromkeys(capacities, 0)
    most = dict.fromkeys(capacities, 0)
    ended: list[str] = []

    async def run(worker: DatabaseWorker, lease: Lease, names: list[str]) -> None:
        store, name = worker.database.permits, uuid4().hex
        granted = await store.request(lease, name, "node", {n: capacities[n] for n in names})
        while not granted:
            granted = name in await store.grant([name])
        for limit in names:
            held[limit] += 1
            most[limit] = max(most[limit], held[limit])
        await asyncio.sleep(0)
        for limit in names:
            held[limit] -= 1
        await store.release(name)
        ended.append(name)

    await asyncio.gather(
        *(
            run(worker, lease, choices.sample(list(capacities), choices.randint(1, 2)))
            for worker, lease in zip(workers, leases, strict=True)
            for _ in range(6)
        )
    )
    assert len(ended) == 12
    assert all(1 <= most[name] <= capacities[name] for name in capacities)


async def test_the_check_finds_too_many_permits(database: Database) -> None:
    worker = DatabaseWorker("first", database)
    lease = await worker.start("one")
    assert await database.permits.request(lease, "a", "node", GPU)
    assert await database.find_violations(service_runs=True) == []
    row = {"name": "key:gpu", "request": "b", "nodeRunId": "one:x", "executionId": "one"}
    granted = {**row, "owner": "first", "capacity": 1, "grantedAt": "2026-01-01T00:00:00.000Z"}
    await database._access.writer.run(lambda c: c.execute(permits.insert(), granted) and None)
    found = [violation.invariant for violation in await database.find_violations(service_runs=True)]
    assert found == ["no more permits of a limit are granted than it has"]
