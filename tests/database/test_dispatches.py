"""Dispatches: each claimable execution has at most one flow run that waits for a worker."""

import asyncio

import pytest

from database import Database
from database.executions.dispatches import Dispatch, IsolationPendingError
from tests.database.test_fairness import submit
from tests.support.fake_clock import MovingClock
from tests.support.statement_counter import counted_statements
from tests.support.two_workers import Workers

LEASE = 30.0
NEVER_SUSPECT = 99


def key(dispatch: Dispatch) -> tuple[str, int]:
    return dispatch.execution_id, dispatch.attempt


async def claim(database: Database, execution_id: str, owner: str = "me", after: int = 99) -> bool:
    return await database.dispatches.claim(owner, execution_id, LEASE, after) is not None


async def test_each_execution_is_reserved_once_until_it_was_claimed(database: Database):
    await submit(database, "a", None)
    (dispatch,) = await database.dispatches.reserve(9, 9)
    assert key(dispatch) == ("a", 1)
    assert dispatch.workflow_name == "A workflow"
    assert await database.dispatches.reserve(9, 9) == []
    await database.dispatches.confirm(dispatch, "run-1")
    assert await claim(database, "a")
    assert await database.dispatches.reserve(9, 9) == []
    (claimed,) = [await database.dispatches.claim("other", "a", LEASE, 99)]
    assert claimed is None


async def test_two_services_reserve_different_executions(workers: Workers):
    database = workers[0].database
    for index in range(20):
        await submit(database, f"e{index}", None)
    batches = await asyncio.gather(
        *(worker.database.dispatches.reserve(99, 20) for worker in workers * 2)
    )
    reserved = [dispatch.execution_id for batch in batches for dispatch in batch]
    for worker in workers:
        rest = await worker.database.dispatches.reserve(99, 20)
        reserved += [dispatch.execution_id for dispatch in rest]
    assert sorted(reserved) == sorted(f"e{index}" for index in range(20))


async def test_a_returned_execution_gets_another_number(database: Database, clock: MovingClock):
    await submit(database, "a", None)
    (first,) = await database.dispatches.reserve(9, 9)
    await database.dispatches.confirm(first, "run-1")
    assert await claim(database, "a", owner="crashes")
    clock.advance(LEASE + 1)
    await database.queue.claim("any", 0, LEASE)
    (second,) = await database.dispatches.reserve(9, 9)
    assert key(second) == ("a", 2)
    claimed = await database.dispatches.claim("heir", "a", LEASE, NEVER_SUSPECT)
    assert claimed is not None
    assert claimed.recoveries == 1


async def test_the_number_is_used_again_if_no_flow_run_is_known(database: Database):
    await submit(database, "a", None)
    (first,) = await database.dispatches.reserve(9, 9)
    await database.dispatches.withdraw(first)
    (second,) = await database.dispatches.reserve(9, 9)
    assert key(second) == ("a", 1)
    await database.dispatches.confirm(second, "run-1")
    await database.dispatches.withdraw(Dispatch("a", 1, "", "run-1"))
    (third,) = await database.dispatches.reserve(9, 9)
    assert key(third) == ("a", 2)


async def test_an_old_dispatch_changes_nothing(database: Database):
    await submit(database, "a", None)
    (first,) = await database.dispatches.reserve(9, 9)
    await database.dispatches.confirm(first, "run-1")
    await database.dispatches.withdraw(Dispatch("a", 1, "", "run-1"))
    (second,) = await database.dispatches.reserve(9, 9)
    await database.dispatches.withdraw(Dispatch("a", 1, "", "run-1"))
    await database.dispatches.confirm(Dispatch("a", 1), "run-1")
    assert await database.dispatches.reserve(9, 9) == []
    (found,) = await database.dispatches.unconfirmed(0, 60, 9)
    assert (found.attempt, found.flow_run_id) == (second.attempt, None)


async def test_a_claim_ends_the_dispatch_also_if_the_response_of_prefect_is_late(
    database: Database,
):
    await submit(database, "a", None)
    (dispatch,) = await database.dispatches.reserve(9, 9)
    assert await claim(database, "a")
    await database.dispatches.confirm(dispatch, "run-1")
    await database.dispatches.withdraw(dispatch)
    assert await database.dispatches.unconfirmed(0, 60, 9) == []
    lease = (await database.queue.renew("me", ["a"], LEASE)) == {"a"}
    assert lease


async def test_organizations_take_turns_beyond_the_limit(database: Database):
    for index in range(5):
        await submit(database, f"a{index}", "A")
    first = await database.dispatches.reserve(2, 9)
    assert [dispatch.execution_id for dispatch in first] == ["a0", "a1"]
    await submit(database, "b0", "B")
    assert await database.dispatches.reserve(2, 9) == []
    assert await claim(database, "a0")
    (second,) = await database.dispatches.reserve(2, 9)
    assert second.execution_id == "b0"


async def test_only_dispatches_of_a_certain_age_are_unconfirmed(
    database: Database, clock: MovingClock
):
    await submit(database, "a", None)
    (dispatch,) = await database.dispatches.reserve(9, 9)
    clock.advance(10)
    assert await database.dispatches.unconfirmed(11, 60, 9) == []
    assert [key(found) for found in await database.dispatches.unconfirmed(10, 60, 9)] == [("a", 1)]
    await database.dispatches.confirm(dispatch, "run-1")
    assert await database.dispatches.unconfirmed(1, 60, 9) == []
    clock.advance(1)
    (found,) = await database.dispatches.unconfirmed(1, 60, 9)
    assert found.flow_run_id == "run-1"
    assert not found.is_overdue
    clock.advance(59)
    (found,) = await database.dispatches.unconfirmed(1, 60, 9)
    assert found.is_overdue


async def test_a_stopping_worker_returns_its_flow_run_only(database: Database):
    await submit(database, "a", None)
    (dispatch,) = await database.dispatches.reserve(9, 9)
    await database.dispatches.confirm(dispatch, "run-1")
    await database.dispatches.withdraw_flow_run("a", "another run")
    assert await database.dispatches.reserve(9, 9) == []
    await database.dispatches.withdraw_flow_run("a", "run-1")
    (again,) = await database.dispatches.reserve(9, 9)
    assert key(again) == ("a", 2)


async def test_one_of_two_workers_claims_an_execution(workers: Workers):
    await submit(workers[0].database, "a", None)
    results = await asyncio.gather(
        *(claim(worker.database, "a", worker.owner) for worker in workers * 3)
    )
    assert sum(results) == 1


@pytest.mark.parametrize("execution_id", ["unknown", "cancelled", "later"])
async def test_an_execution_that_is_not_claimable_is_not_claimed(
    database: Database, execution_id: str
):
    await submit(database, "cancelled", None)
    await database.queue.request_cancel("cancelled")
    await submit(database, "later", None)
    (run,) = await database.queue.claim("me", 9, LEASE)
    await database.queue.release(run.lease, 60)
    assert not await claim(database, execution_id)
    assert await database.dispatches.reserve(9, 9) == []


async def test_a_suspect_runs_alone_in_its_worker(database: Database, clock: MovingClock):
    await submit(database, "suspect", None)
    assert await claim(database, "suspect", owner="crashes")
    clock.advance(LEASE + 1)
    await database.queue.claim("any", 0, LEASE)
    await submit(database, "other", None)
    await submit(database, "third", None)
    assert await claim(database, "other", "me", 1)
    with pytest.raises(IsolationPendingError):
        await claim(database, "suspect", "me", 1)
    assert await claim(database, "suspect", "free", 1)
    with pytest.raises(IsolationPendingError):
        await claim(database, "third", "free", 1)
    assert await claim(database, "third", "me", 1)


async def test_nothing_is_written_while_nothing_is_due(database: Database):
    await submit(database, "a", None)
    assert await claim(database, "a")
    with counted_statements() as counted:
        assert await database.dispatches.reserve(9, 9) == []
        assert not await claim(database, "a", "other")
    assert len(counted.transactions) == 2
    assert counted.writing == []
