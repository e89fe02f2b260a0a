"""Two workers on one database: one claims, and the other one waits for the end of the lease."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from database.executions.inputs import IdempotencyKey
from database.executions.journal_records import NodeChanges, NodeStarted
from database.tables import events, executions, runs
from engine.errors import IdempotencyKeyReusedError, LeaseLostError, NotWaitingError
from engine.parking import Resumption
from engine.status import ExecutionStatus
from tests.support.call_trees import (
    BEGINS,
    CALL,
    CANCELLED,
    DONE,
    FAILED,
    LEASE,
    calls,
    invariants_hold,
    notified_result,
    rows,
    status,
    write,
)
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import DatabaseWorker, Workers, both

# Claims and leases


async def claimable_at(worker: DatabaseWorker, execution_id: str) -> str | None:
    (row,) = [row for row in await rows(worker.database, runs) if row.executionId == execution_id]
    return row.claimableAt


async def test_an_execution_is_claimed_by_one_of_two_workers(workers: Workers) -> None:
    first, second = workers
    for i in range(4):
        await first.submit(f"e{i}")
        claims = await both(first.claim(), second.claim())
        assert sum(len(leases) for leases in claims) == 1
        (lease,) = [lease for leases in claims for lease in leases]
        await first.database.journal.finish(lease, BEGUN, DONE)


async def test_a_claimed_execution_is_not_claimable_by_the_other_worker(workers: Workers) -> None:
    first, second = workers
    lease = await first.start("e")
    assert lease.owner == "first"
    assert await second.claim() == []
    await first.database.journal.record_step(lease, BEGUN, BEGINS, None, NodeChanges())
    assert await second.claim() == []


async def test_a_renewed_lease_is_not_taken_over(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    await first.start("e")
    for _ in range(3):
        clock.advance(LEASE - 0.001)
        assert await second.claim() == []
        assert await second.database.queue.renew("second", ["e"], LEASE) == set()
        assert await first.database.queue.renew("first", ["e"], LEASE) == {"e"}


async def test_the_leases_of_ended_owners_are_taken_over_at_once(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    lease = await first.start("e")
    await second.start("other")
    await second.database.queue.expire(["first", "never seen"])
    assert [taken.execution_id for taken in await second.claim()] == ["e"]
    assert await first.claim() == []  # the lease of "other" has not ended
    with pytest.raises(LeaseLostError):
        await first.database.journal.finish(lease, BEGUN, DONE)
    assert await invariants_hold(first.database)


async def test_an_expired_lease_is_taken_over_once(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    third = DatabaseWorker("third", first.database)
    await first.start("e")
    clock.advance(LEASE)
    claims = await both(
        second.database.queue.claim("second", 9, LEASE),
        third.database.queue.claim("third", 9, LEASE),
    )
    (run,) = [run for claimed in claims for run in claimed]
    assert run.recoveries == 1
    assert await first.database.queue.renew("first", ["e"], LEASE) == set()
    assert await invariants_hold(second.database)


async def test_a_worker_that_lost_its_lease_writes_nothing(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    lost = await first.start("e")
    clock.advance(LEASE)
    taken = await second.claim_one()
    before = [await rows(second.database, table) for table in (executions, runs, events)]
    journal = first.database.journal
    started = NodeChanges(started=[NodeStarted(CALL, "null", 1, resumed=False)])
    for late in (
        journal.load(lost),
        journal.record_step(lost, BEGUN, BEGINS, "call", started),
        journal.park(lost, None),
        journal.finish(lost, BEGUN, DONE),
        journal.abandon(lost, "it crashed"),
        first.database.queue.release(lost),
    ):
        with pytest.raises(LeaseLostError):
            await late
    assert [await rows(second.database, table) for table in (executions, runs, events)] == before
    await second.database.journal.finish(taken, BEGUN + 2, DONE)


async def test_every_owner_that_crashes_counts_once(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    await first.submit("e")
    for crashes, worker in enumerate((first, second, first, second)):
        (run,) = await worker.database.queue.claim(worker.owner, 1, LEASE, isolate_after=2)
        assert run.recoveries == crashes
        clock.advance(LEASE)
        await both(first.claim(0), second.claim(0))


async def test_a_suspect_of_one_worker_does_not_stop_the_other_one(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    await first.submit("suspect")
    for worker in workers:
        await worker.claim()
        clock.advance(LEASE)
    await first.submit("new")
    (suspect,) = await first.database.queue.claim("first", 9, LEASE, isolate_after=2)
    assert suspect.lease.execution_id == "suspect"
    assert await first.database.queue.claim("first", 9, LEASE, isolate_after=2) == []
    (new,) = await second.database.queue.claim("second", 9, LEASE, isolate_after=2)
    assert new.lease.execution_id == "new"


async def test_organizations_take_turns_across_workers(workers: Workers) -> None:
    first, second = workers
    for i in range(3):
        await first.submit(f"a{i}", organization_id="a")
    await first.submit("b0", organization_id="b")
    claimed = [await worker.claim(1) for worker in (first, second, first, second)]
    assert [lease.execution_id for (lease,) in claimed] == ["a0", "b0", "a1", "a2"]


# Waiting nodes


async def test_a_running_execution_is_not_claimable_after_a_resumption(workers: Workers) -> None:
    first, second = workers
    lease = await first.start("e")
    await first.ask(lease)
    until = await claimable_at(first, "e")
    await second.database.journal.resume("e", "ask", Resumption(data={"n": 1}))
    assert await claimable_at(first, "e") == until
    assert await second.claim() == []
    assert await first.database.journal.resumptions(lease) == {"ask": Resumption(data={"n": 1})}


async def test_a_parked_execution_continues_in_one_of_two_workers(workers: Workers) -> None:
    first, second = workers
    await first.park(await first.start("e"))
    assert await both(first.claim(), second.claim()) == [[], []]
    await second.database.journal.resume("e", "ask", Resumption(data={"n": 1}))
    claims = await both(first.claim(), second.claim())
    assert sorted(map(len, claims)) == [0, 1]


async def test_a_node_is_resumed_by_one_of_two_requests(workers: Workers) -> None:
    first, second = workers
    await first.park(await first.start("e"))

    async def resume(worker: DatabaseWorker) -> str:
        try:
            await worker.database.journal.resume("e", "ask", Resumption(data={"by": worker.owner}))
        except NotWaitingError:
            return ""
        return worker.owner

    (resumed_by,) = [owner for owner in await both(*map(resume, workers)) if owner]
    found = await second.database.journal.resumptions(await second.claim_one())
    assert found == {"ask": Resumption(data={"by": resumed_by})}


async def test_a_timer_is_due_once(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    await first.park(await first.start("e"), clock() + timedelta(seconds=60))
    clock.advance(59.999)
    assert await both(first.claim(), second.claim()) == [[], []]
    clock.advance(0.001)
    claims = await both(first.claim(), second.claim())
    assert sorted(map(len, claims)) == [0, 1]
    assert await both(first.claim(), second.claim()) == [[], []]


# Child executions


async def test_a_running_parent_is_not_claimable_when_its_child_ends(workers: Workers) -> None:
    first, second = workers
    parent = await first.start("parent")
    await calls(first.database, parent, "child")
    child = await second.claim_one()
    until = await claimable_at(first, "parent")
    await second.database.journal.finish(child, BEGUN, DONE)
    assert await claimable_at(first, "parent") == until
    assert await second.claim() == []
    assert await first.claim() == []
    assert list(await first.database.journal.resumptions(parent)) == ["call"]
    await first.database.journal.park(parent, None)
    assert (await second.claim_one()).execution_id == "parent"


async def test_a_parked_parent_continues_in_one_of_two_workers(workers: Workers) -> None:
    first, second = workers
    parent = await first.start("parent")
    await calls(first.database, parent, "child")
    child = await second.claim_one()
    await first.database.journal.park(parent, None)
    await second.database.journal.finish(child, BEGUN, FAILED)
    claims = await both(first.claim(), second.claim())
    assert sorted(map(len, claims)) == [0, 1]
    assert await notified_result(first.database) is not None


async def test_the_end_of_a_parent_stops_its_child_at_the_other_worker(workers: Workers) -> None:
    first, second = workers
    parent = await first.start("parent")
    seq = await calls(first.database, parent, "child")
    child = await second.claim_one()
    await first.database.journal.finish(parent, seq, FAILED)
    assert await first.database.queue.cancellations("first") == []
    assert await second.database.queue.cancellations("second") == ["child"]
    await second.database.journal.finish(child, BEGUN, CANCELLED)
    assert await both(first.claim(), second.claim()) == [[], []]
    assert await invariants_hold(first.database)


# Cancellation and ends


async def test_a_cancellation_reaches_the_owner_only(workers: Workers) -> None:
    first, second = workers
    await first.start("e")
    assert await second.database.queue.request_cancel("e") == ExecutionStatus.RUNNING
    assert await second.database.queue.cancellations("second") == []
    assert await first.database.queue.cancellations("first") == ["e"]
    assert await second.claim() == []


async def test_an_execution_is_cancelled_by_one_of_two_requests(workers: Workers) -> None:
    first, second = workers
    await first.park(await first.start("e"))
    await both(*(worker.database.queue.request_cancel("e") for worker in workers))
    assert await status(first.database, "e") == ExecutionStatus.CANCELLED
    recorded = [row.status for row in await rows(first.database, events) if row.nodeId is None]
    assert recorded.count(ExecutionStatus.CANCELLED) == 1
    assert await both(first.claim(), second.claim()) == [[], []]


async def test_a_cancellation_and_a_claim_at_the_same_time_agree(workers: Workers) -> None:
    first, second = workers
    for i in range(4):
        await first.submit(f"e{i}")
        _, leases = await both(first.database.queue.request_cancel(f"e{i}"), second.claim())
        if leases:  # the claim was first, so that its owner stops the execution
            assert await second.database.queue.cancellations("second") == [f"e{i}"]
            await second.database.journal.finish(leases[0], BEGUN, CANCELLED)
        assert await status(first.database, f"e{i}") == ExecutionStatus.CANCELLED
    assert await invariants_hold(first.database)


@pytest.mark.parametrize("ending", [DONE, FAILED, CANCELLED], ids=lambda ending: ending.status)
async def test_an_ended_execution_is_not_claimable_and_has_no_more_events(
    workers: Workers, clock: MovingClock, ending: object
) -> None:
    first, second = workers
    lease = await first.start("e", callback_url="http://a.example/")
    seq = await first.ask(lease)
    await first.database.journal.finish(lease, seq, ending)  # type: ignore[arg-type]
    last = (await rows(first.database, events))[-1]
    assert last.status == ending.status  # type: ignore[attr-defined]
    for _ in range(2):
        assert await both(first.claim(), second.claim()) == [[], []]
        clock.advance(2 * LEASE)
    assert await second.database.queue.request_cancel("e") == ending.status  # type: ignore[attr-defined]
    with pytest.raises(NotWaitingError):
        await second.database.journal.resume("e", "ask", Resumption())
    for late in (
        first.database.journal.record_step(lease, seq, BEGINS, None, NodeChanges()),
        first.database.journal.finish(lease, seq, CANCELLED),
        first.database.queue.release(lease),
    ):
        with pytest.raises(LeaseLostError):
            await late
    attempt = await second.database.callbacks.claim("second", "a.example", LEASE)
    assert attempt is not None
    await second.database.callbacks.record_delivery(attempt, 200)
    assert await second.database.queue.settle_foreign_ends() == 0
    assert await second.database.child_executions.sweep() == 0
    assert (await rows(first.database, events))[-1] == last


async def test_a_foreign_end_is_settled_once(workers: Workers) -> None:
    first, second = workers
    await first.park(await first.start("e", callback_url="http://a.example/"))
    ended = update(executions).where(executions.c.id == "e").values(status="cancelled")
    await write(first.database, ended)
    settled = await both(*(worker.database.queue.settle_foreign_ends() for worker in workers))
    assert sum(settled) == 1
    assert await second.database.callbacks.due_by_host() == {"a.example": 1}
    assert await invariants_hold(first.database)


# Keys, callbacks, events and maintenance


async def test_one_idempotency_key_is_one_execution(workers: Workers) -> None:
    first, second = workers
    key, other = IdempotencyKey("", "k", "same"), IdempotencyKey("", "k", "other")
    ids = await both(first.submit("e1", idempotency=key), second.submit("e2", idempotency=key))
    assert len(set(ids)) == 1
    assert [row.id for row in await rows(first.database, executions)] == [ids[0]]
    with pytest.raises(IdempotencyKeyReusedError):
        await second.submit("e3", idempotency=other)


async def test_a_callback_is_sent_by_one_of_two_workers(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    lease = await first.start("e", callback_url="http://a.example/")
    await first.database.journal.finish(lease, BEGUN, DONE)
    attempts = await both(
        *(worker.database.callbacks.claim(worker.owner, "a.example", LEASE) for worker in workers)
    )
    (attempt,) = [attempt for attempt in attempts if attempt is not None]
    assert [await worker.database.callbacks.due_by_host() for worker in workers] == [{}, {}]
    clock.advance(LEASE)
    again = await second.database.callbacks.claim("third", "a.example", LEASE)
    assert again is not None
    assert again.attempt == 2
    with pytest.raises(LeaseLostError):
        await first.database.callbacks.record_delivery(attempt, 200)


async def test_the_events_of_one_worker_are_read_by_the_other_one(workers: Workers) -> None:
    first, second = workers
    position = await second.database.event_feed.last_position()
    lease = await first.start("e")
    seq = await first.ask(lease)
    await first.database.journal.finish(lease, seq, DONE)
    tail = second.database.event_feed.tail
    changes, found, position, more = await tail(position, lambda *_: True, 100)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert found[-1].status == ExecutionStatus.COMPLETED
    assert [change.execution_id for change in changes] == ["e"]
    assert more is False
    changes, found, _, _ = await tail(position, lambda *_: True, 100)
    assert (changes, found) == ([], [])


async def test_two_workers_delete_the_same_old_executions(workers: Workers) -> None:
    first, second = workers
    for i in range(6):
        lease = await first.start(f"e{i}")
        await first.database.journal.finish(lease, BEGUN, DONE)
    running = await second.start("running")
    await both(*(worker.database.retention.delete_expired(None, 2) for worker in workers))
    query = select(executions.c.id).order_by(executions.c.id)
    found = await first.database._access.reader.run(lambda c: c.scalars(query).all())
    assert list(found) == ["e4", "e5", "running"]
    await second.database.journal.finish(running, BEGUN, DONE)
    assert await invariants_hold(first.database)


async def test_a_deleted_child_is_reported_once(workers: Workers) -> None:
    first, second = workers
    parent = await first.start("parent")
    await calls(first.database, parent, "child")
    await second.claim_one()
    await first.database.journal.park(parent, None)
    await write(first.database, executions.delete().where(executions.c.id == "child"))
    await both(*(worker.database.child_executions.sweep() for worker in workers))
    claims = await both(first.claim(), second.claim())
    assert sorted(map(len, claims)) == [0, 1]
    assert [await worker.database.child_executions.sweep() for worker in workers] == [0, 0]
