"""Recovery: executions of crashed owners are requeued at once, and suspects run alone."""

from database import Database
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.executions.queue import ClaimedExecution
from database.records import Lease
from engine.document import Node
from engine.outcome import Progress
from engine.status import ExecutionStatus, NodeStatus
from tests.database.test_queue_and_journal import LEASE, claim_one, ids, status, submit
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

NODE = Node("a", "trigger", "A", {})
SUSPICIOUS = 2


async def begin_node(database: Database, lease: Lease, seq: int = BEGUN) -> int:
    started = [NodeStarted(NODE, "null", 1, resumed=False)]
    return await database.journal.record_step(
        lease, seq, Progress(2, 0, 0, 0), "a", NodeChanges(started=started)
    )


async def crash_with(
    database: Database, clock: MovingClock, *execution_ids: str, times: int
) -> None:
    """Submit executions, and let this number of owners crash with all of them."""
    for execution_id in execution_ids:
        await submit(database, execution_id)
    for time in range(times):
        assert len(await database.queue.claim(f"crashed {time}", 99, LEASE)) == len(execution_ids)
        clock.advance(LEASE)


async def claim(database: Database, owner: str = "me", limit: int = 9) -> list[ClaimedExecution]:
    return await database.queue.claim(owner, limit, LEASE, isolate_after=SUSPICIOUS)


async def test_executions_of_a_crashed_owner_are_requeued_without_a_free_slot(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e1")
    lease = await claim_one(database, "crashed")
    seq = await begin_node(database, lease)
    clock.advance(LEASE)
    assert await database.queue.claim("me", 0, LEASE) == []
    execution = await database.queries.execution("e1")
    assert (execution.status, execution.current_node_id) == (ExecutionStatus.PENDING, None)
    assert execution.seq == seq + 2  # the node was cancelled, and the execution requeued
    (log,) = await database.queries.logs("e1")
    assert (log.status, log.seq) == (NodeStatus.CANCELLED, seq + 1)
    assert await database.find_violations(service_runs=True) == []
    (run,) = await database.queue.claim("me", 1, LEASE)
    assert run.recoveries == 1


async def test_only_the_listed_leases_are_renewed(database: Database, clock: MovingClock) -> None:
    for execution_id in ("listed", "unlisted"):
        await submit(database, execution_id)
    await database.queue.claim("me", 2, LEASE)
    clock.advance(LEASE / 2)
    assert await database.queue.renew("me", ["listed"], LEASE) == {"listed"}
    clock.advance(LEASE / 2)
    assert ids(await database.queue.claim("you", 9, LEASE)) == ["unlisted"]


async def test_suspects_run_alone_and_one_at_a_time(database: Database, clock: MovingClock) -> None:
    await crash_with(database, clock, "s1", "s2", times=SUSPICIOUS)
    await submit(database, "new")
    (first,) = await claim(database)
    assert (first.lease.execution_id, first.recoveries) == ("s1", SUSPICIOUS)
    assert await status(database, "s2") == ExecutionStatus.PENDING
    assert await claim(database) == []
    await database.journal.abandon(first.lease, "enough")
    (second,) = await claim(database)
    assert second.lease.execution_id == "s2"
    await database.journal.abandon(second.lease, "enough")
    assert ids(await claim(database)) == ["new"]


async def test_nothing_else_starts_while_a_suspect_waits(
    database: Database, clock: MovingClock
) -> None:
    await crash_with(database, clock, "suspect", times=SUSPICIOUS - 1)
    await submit(database, "running")
    await database.queue.claim("about to crash", 1, LEASE)
    (running,) = await database.queue.claim("me", 1, LEASE)
    clock.advance(LEASE)
    await submit(database, "new")
    mine = ["running"]
    claimed = await database.queue.claim("me", 9, LEASE, mine, isolate_after=SUSPICIOUS)
    assert claimed == []
    await database.journal.abandon(running.lease, "done")
    assert ids(await claim(database)) == ["suspect"]


async def test_an_idle_service_claims_the_suspect(database: Database, clock: MovingClock) -> None:
    await crash_with(database, clock, "suspect", times=SUSPICIOUS)
    await submit(database, "new")
    assert ids(await claim(database, "first")) == ["suspect"]
    assert ids(await claim(database, "second")) == ["new"]


async def test_an_execution_is_not_a_suspect_after_a_node_ends(
    database: Database, clock: MovingClock
) -> None:
    await crash_with(database, clock, "suspect", times=SUSPICIOUS)
    await submit(database, "new")
    (run,) = await claim(database)
    seq = await begin_node(database, run.lease, seq=BEGUN + 2)
    ended = [NodeEnded("a", NodeStatus.COMPLETED, 1, "{}")]
    await database.journal.record_step(
        run.lease, seq, Progress(2, 1, 0, 0), None, NodeChanges(ended=ended)
    )
    claimed = await database.queue.claim("me", 9, LEASE, ["suspect"], isolate_after=SUSPICIOUS)
    assert ids(claimed) == ["new"]
