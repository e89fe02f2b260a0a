"""Fairness: organizations take turns, and the queue has a maximum length."""

import asyncio

import pytest

from database import Database
from database.executions.inputs import Submission
from database.executions.journal_records import ExecutionResult, NodeChanges, NodeEnded
from database.records import Lease
from engine.errors import QueueFullError
from engine.outcome import Progress
from engine.status import ExecutionStatus, NodeStatus
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN, position_of

LEASE = 30.0


async def submit(
    database: Database,
    execution_id: str,
    organization: str | None,
    max_pending: int | None = None,
    max_of_organization: int | None = None,
) -> None:
    submission = Submission(
        execution_id=execution_id,
        workflow_id="w",
        workflow_name="A workflow",
        organization_id=organization,
        document="{}",
        inputs=None,
        total_nodes=1,
    )
    await database.submissions.submit(submission, max_pending, max_of_organization)


async def claim(database: Database, limit: int = 1) -> list[str]:
    claimed = await database.queue.claim("me", limit, LEASE)
    return [run.lease.execution_id for run in claimed]


async def end(database: Database, execution_id: str) -> None:
    ending = ExecutionResult(ExecutionStatus.FAILED, Progress(1, 0, 1, 0), "over")
    await database.journal.finish(Lease(execution_id, "me", LEASE), BEGUN, ending)


async def test_a_late_organization_gets_the_next_free_slot(database: Database) -> None:
    for i in range(100):
        await submit(database, f"a{i}", "A")
    assert await claim(database) == ["a0"]
    await submit(database, "b0", "B")
    await end(database, "a0")
    assert await claim(database) == ["b0"]
    await end(database, "b0")
    assert await claim(database) == ["a1"]


async def test_organizations_take_turns(database: Database) -> None:
    for i in range(6):
        await submit(database, f"a{i}", "A")
    for organization in ("B", None):
        for i in range(2):
            await submit(database, f"{organization}{i}", organization)
    assert await claim(database, 4) == ["a0", "B0", "None0", "a1"]
    assert await claim(database, 4) == ["B1", "None1", "a2", "a3"]


async def test_the_position_in_the_queue_is_the_order_of_claims(database: Database) -> None:
    for i in range(3):
        await submit(database, f"a{i}", "A")
    await submit(database, "b0", "B")
    order = ["a0", "b0", "a1", "a2"]
    for position, execution_id in enumerate(order, start=1):
        assert await position_of(database, execution_id, LEASE) == position
    assert await claim(database, 9) == order
    assert await position_of(database, "a0", LEASE) is None


async def test_a_full_queue_rejects_submissions_and_stores_nothing(database: Database) -> None:
    for i in range(3):
        await submit(database, f"e{i}", None, max_pending=3)
    with pytest.raises(QueueFullError, match="3 executions are already waiting"):
        await submit(database, "e3", None, max_pending=3)
    assert await claim(database) == ["e0"]
    await submit(database, "e3", None, max_pending=3)


async def test_an_organization_cannot_fill_the_queue(database: Database) -> None:
    for i in range(2):
        await submit(database, f"a{i}", "A", max_pending=4, max_of_organization=2)
    setting = "MAX_PENDING_EXECUTIONS_PER_ORGANIZATION=2"
    with pytest.raises(QueueFullError, match=f"2 executions of the organization 'A' .*{setting}"):
        await submit(database, "a2", "A", max_pending=4, max_of_organization=2)
    await submit(database, "b0", "B", max_pending=4, max_of_organization=2)
    await submit(database, "none", None, max_pending=4, max_of_organization=2)
    with pytest.raises(
        QueueFullError, match=r"4 executions are already waiting .*MAX_PENDING_EXECUTIONS=4"
    ):
        await submit(database, "b1", "B", max_pending=4, max_of_organization=2)
    assert await claim(database) == ["a0"]
    await submit(database, "a2", "A", max_pending=4, max_of_organization=2)


async def test_the_limit_of_an_organization_applies_to_concurrent_submissions(
    database: Database,
) -> None:
    submissions = [
        submit(database, f"a{i}", "A", max_pending=100, max_of_organization=3) for i in range(20)
    ]
    others = [
        submit(database, f"b{i}", "B", max_pending=100, max_of_organization=3) for i in range(3)
    ]
    outcomes = await asyncio.gather(*submissions, *others, return_exceptions=True)
    rejected = [outcome for outcome in outcomes if isinstance(outcome, QueueFullError)]
    assert len(rejected) == 17
    assert [outcome for outcome in outcomes if outcome not in rejected] == [None] * 6


async def test_crashed_owners_are_counted_until_a_node_ends(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e", None)
    for recoveries in range(3):
        (run,) = await database.queue.claim(f"owner {recoveries}", 1, LEASE)
        assert run.recoveries == recoveries
        clock.advance(LEASE + 1)
    (run,) = await database.queue.claim("me", 1, LEASE)
    ended = [NodeEnded("n", NodeStatus.COMPLETED, 1, "{}")]
    seq = (await database.journal.load(run.lease)).seq
    await database.journal.record_step(
        run.lease, seq, Progress(1, 1, 0, 0), None, NodeChanges(ended=ended)
    )
    clock.advance(LEASE + 1)
    (run,) = await database.queue.claim("you", 1, LEASE)
    assert run.recoveries == 1


async def test_a_released_execution_does_not_count_as_crashed(database: Database) -> None:
    await submit(database, "e", None)
    for _ in range(5):
        (run,) = await database.queue.claim("me", 1, LEASE)
        assert run.recoveries == 0
        await database.queue.release(run.lease)


async def test_a_clock_that_is_set_back_keeps_nothing_waiting(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "expired", None)
    await database.queue.claim("crashed owner", 1, LEASE)
    clock.advance(-3_600)
    await submit(database, "new", None)
    assert sorted(await claim(database, 9)) == ["expired", "new"]


async def test_a_clock_slightly_behind_does_not_expire_leases(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e", None)
    await database.queue.claim("owner", 1, LEASE)
    clock.advance(-20)
    assert await claim(database) == []
