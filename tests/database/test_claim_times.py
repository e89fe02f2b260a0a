"""Claims and their times: which executions are due at a moment, and the facts of a claimed one."""

from datetime import timedelta

import pytest

from database import Database
from database.clock import to_text
from database.executions.queue import CLOCK_TOLERANCE_SECONDS, ClaimedExecution
from database.tables import executions, logs, runs
from engine.errors import LeaseLostError
from engine.status import ExecutionStatus
from tests.support.call_trees import (
    LEASE,
    invariants_hold,
    rows,
    status,
    write_without_foreign_keys,
)
from tests.support.changed_rows import set_execution, set_run
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import Workers

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

PAST, FUTURE = "2020-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z"


async def claimable(database: Database) -> dict[str, tuple[str | None, str | None]]:
    """Return the owner and the time of each execution."""
    found = await rows(database, runs)
    return {row.executionId: (row.owner, row.claimableAt) for row in found}


async def test_the_next_due_time_is_the_first_one_after_the_last_claim(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    queue = first.database.queue
    assert await queue.next_due(clock()) is None
    await first.park(await first.start("never"))
    await first.park(await first.start("parked"), clock() + timedelta(seconds=50))
    await first.start("own")
    await second.submit("queued")
    assert await queue.next_due(clock()) == clock() + timedelta(seconds=LEASE)
    assert await queue.next_due(clock(), ["own"]) == clock() + timedelta(seconds=50)
    assert await queue.next_due(clock(), ["own", "parked"]) is None
    at_lease = clock() + timedelta(seconds=LEASE)
    assert await queue.next_due(at_lease) == clock() + timedelta(seconds=50)
    before = at_lease - timedelta(milliseconds=1)
    assert await queue.next_due(before) == at_lease


async def test_a_lease_that_ends_too_far_in_the_future_has_expired(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    await first.start("e")
    latest = clock() + timedelta(seconds=2 * LEASE + CLOCK_TOLERANCE_SECONDS)
    await set_run(first.database, "e", claimableAt=to_text(latest))
    assert await second.claim() == []
    await set_run(first.database, "e", claimableAt=to_text(latest + timedelta(milliseconds=1)))
    assert (await second.claim_one()).execution_id == "e"


async def test_a_claim_lasts_for_one_lease_and_changes_no_other_execution(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    await first.start("claimed", organization_id="other")
    await first.park(await first.start("parked"), clock() + timedelta(days=1))
    for name in ("one", "two", "three"):
        await first.submit(name)
    before = await claimable(first.database)
    clock.advance(1)
    runs_now = await second.database.queue.claim("second", 2, 7)
    assert [run.lease.execution_id for run in runs_now] == ["one", "two"]
    assert [(run.lease.owner, run.lease.seconds) for run in runs_now] == [("second", 7)] * 2
    until = ("second", to_text(clock() + timedelta(seconds=7)))
    assert await claimable(first.database) == {**before, "one": until, "two": until}
    assert await status(first.database, "three") == ExecutionStatus.PENDING


async def test_without_a_free_slot_nothing_is_claimed(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    await first.start("crashed")
    await first.submit("queued")
    assert await second.claim(0) == []
    clock.advance(LEASE)
    assert await second.claim(0) == []
    assert {owner for owner, _ in (await claimable(first.database)).values()} == {None}


async def test_an_owner_returns_the_executions_of_others_but_not_those_that_it_runs(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    await first.start("own")
    await second.start("crashed")
    clock.advance(LEASE)
    claimed = await first.database.queue.claim("first", 9, LEASE, excluding=["own"])
    assert [run.lease.execution_id for run in claimed] == ["crashed"]
    owners = {name: owner for name, (owner, _) in (await claimable(first.database)).items()}
    assert owners == {"own": "first", "crashed": "first"}


async def test_the_first_start_of_an_execution_is_kept(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    started = to_text(clock())
    lease = await first.start("e")
    clock.advance(1)
    await first.database.queue.release(lease)
    (run,) = await second.database.queue.claim("second", 1, LEASE)
    assert run.origin.started_at == started
    (execution,) = await rows(first.database, executions)
    assert execution.startedAt == started


async def test_a_claimed_execution_has_its_own_facts(workers: Workers) -> None:
    first, second = workers
    lease = await first.start("failed to end")
    await first.database.queue.link_flow_run(lease, "flow")
    await first.database.queue.release(lease, end_error="disk full")
    await first.submit("plain", organization_id="org")
    await set_run(first.database, "plain", recoveries=3)
    await first.submit("limited", organization_id="other")
    await set_run(first.database, "limited", maxConcurrentExecutions=2)
    claimed = await second.database.queue.claim("second", 9, LEASE)

    def facts(run: ClaimedExecution) -> tuple[object, ...]:
        return run.recoveries, run.last_flow_run_id, run.end_error, run.is_limited

    found = {run.lease.execution_id: facts(run) for run in claimed}
    assert found == {
        "failed to end": (0, "flow", "disk full", False),
        "plain": (3, None, None, False),
        "limited": (0, None, None, True),
    }
    organizations = {run.lease.execution_id: run.origin.organization_id for run in claimed}
    assert organizations == {"failed to end": None, "plain": "org", "limited": "other"}


async def test_an_execution_that_another_program_ended_is_not_claimed(workers: Workers) -> None:
    first, second = workers
    await first.submit("ended")
    await first.submit("open")
    await set_execution(first.database, "ended", status="cancelled")
    assert [lease.execution_id for lease in await second.claim()] == ["open"]
    by_id = {row.executionId: row for row in await rows(first.database, runs)}
    assert (by_id["ended"].owner, by_id["ended"].endedElsewhere) == (None, 1)
    assert (by_id["open"].endedAt, by_id["open"].endedElsewhere) == (None, None)
    assert await invariants_hold(first.database)


async def test_only_unowned_executions_that_another_program_ended_are_settled(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    lease = await first.start("owned")
    await first.ask(lease)
    await first.park(await first.start("parked"))
    await first.park(await first.start("open"))
    queue = second.database.queue
    assert await queue.settle_foreign_ends() == 0
    await set_execution(first.database, "owned", status="failed", error="by hand")
    assert await queue.settle_foreign_ends() == 0
    assert await first.database.queue.cancellations("first") == ["owned"]
    await set_execution(first.database, "parked", status="failed", completedAt=PAST)
    clock.advance(1)
    assert await queue.settle_foreign_ends() == 1
    assert await queue.settle_foreign_ends() == 0
    found = {row.id: row for row in await rows(first.database, executions)}
    parked = found["parked"]
    assert (parked.completedAt, parked.error) == (
        PAST,
        "Another program set the status to 'failed' and gave no reason",
    )
    assert (found["owned"].completedAt, found["owned"].error) == (None, "by hand")
    assert (found["open"].status, found["open"].error) == ("waiting", None)
    await first.database.queue.release(lease)
    found = {row.id: row for row in await rows(first.database, executions)}
    assert (found["owned"].completedAt, found["owned"].error) == (to_text(clock()), "by hand")
    statuses = {row.executionId: row.status for row in await rows(first.database, logs)}
    assert statuses == {"owned": "cancelled", "parked": "cancelled", "open": "waiting"}


async def test_an_owner_must_stop_cancelled_ended_and_deleted_executions(
    workers: Workers,
) -> None:
    first, second = workers
    for name in ("kept", "cancelled", "ended", "unknown", "deleted"):
        await first.start(name)
    await second.start("other")
    await first.database.queue.request_cancel("cancelled")
    await second.database.queue.request_cancel("other")
    await set_execution(first.database, "ended", status="completed")
    await set_execution(first.database, "unknown", status="paused")
    deleted = "DELETE FROM workflow_executions WHERE id = 'deleted'"
    await write_without_foreign_keys(first.database, deleted)
    found = await second.database.queue.cancellations("first")
    assert sorted(found) == ["cancelled", "deleted", "ended", "unknown"]
    assert await first.database.queue.cancellations("second") == ["other"]


async def test_a_released_execution_is_due_after_its_delay_or_at_once_if_it_is_cancelled(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    leases = {name: await first.start(name) for name in ("at once", "later", "cancelled", "ended")}
    await first.start("owned")
    queue = second.database.queue
    for name in ("cancelled", "ended"):
        await queue.request_cancel(name)
    before = await claimable(first.database)
    clock.advance(1)
    await first.database.queue.release(leases["at once"])
    await first.database.queue.release(leases["later"], 5)
    await first.database.queue.release(leases["cancelled"], 5)
    await first.database.queue.release(leases["ended"], 5, "disk full")
    later = to_text(clock() + timedelta(seconds=5))
    assert await claimable(first.database) == {
        "at once": (None, ""),
        "later": (None, later),
        "cancelled": (None, ""),
        "ended": (None, later),
        "owned": before["owned"],
    }
    for lease in leases.values():
        with pytest.raises(LeaseLostError):
            await first.database.queue.release(lease)
    clock.advance(5)
    claimed = {run.lease.execution_id: run for run in await queue.claim("second", 9, LEASE)}
    assert claimed["ended"].end_error == "disk full"
    await queue.release(claimed["ended"].lease, 0, "another reason")
    (run,) = await queue.claim("second", 9, LEASE)
    assert run.end_error == "disk full"


async def test_a_released_execution_returns_with_one_event(workers: Workers) -> None:
    first, second = workers
    lease = await first.start("e")
    other = await second.start("other")
    await first.database.queue.release(lease)
    found = {
        row.id: (row.status, row.currentNodeId) for row in await rows(first.database, executions)
    }
    assert found == {"e": ("pending", None), "other": ("running", None)}
    numbers = {row.executionId: row.seq for row in await rows(first.database, runs)}
    assert numbers == {"e": BEGUN + 1, other.execution_id: BEGUN}


async def test_suspects_are_isolated_from_their_own_number_of_crashes_on(
    workers: Workers,
) -> None:
    first, second = workers
    for name, recoveries in (("suspect", 2), ("innocent", 1), ("new", 0)):
        await first.submit(name)
        await set_run(first.database, name, recoveries=recoveries)
    queue = second.database.queue
    assert await queue.claim("second", 0, LEASE, isolate_after=2) == []
    claimed = await queue.claim("second", 9, LEASE, isolate_after=2)
    assert [run.lease.execution_id for run in claimed] == ["suspect"]
    assert await queue.claim("second", 9, LEASE, isolate_after=2) == []
    others = await first.database.queue.claim("first", 9, LEASE, isolate_after=2)
    assert [run.lease.execution_id for run in others] == ["innocent", "new"]
