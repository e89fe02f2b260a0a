"""Calls in the tables: stored with the parking, told with the end, cancelled with the parent."""

import pytest
from sqlalchemy import update

from database import Database
from database.executions.journal_records import ExecutionResult, NodeChanges, NodeEnded
from database.tables import children, executions
from engine.errors import LeaseLostError, WaitingForChildError
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import NodeStatus
from engine.subworkflow_calls import ChildResult
from tests.support.call_trees import (
    BEGINS,
    CANCELLED,
    DONE,
    FAILED,
    LEASE,
    begin_call,
    calls,
    claim,
    family,
    holds,
    parked_family,
    rows,
    status,
    submission,
    three_generations,
    told,
    waits_for,
    write,
)
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN


async def test_the_child_is_stored_with_the_parking_of_the_node(database: Database) -> None:
    parent, child = await family(database)
    assert child.execution_id == "child"
    record = await database.journal.load(parent)
    assert record.parked[NodeRunKey("call")].child_id == "child"
    assert (await database.journal.load(child)).parent_id == "parent"
    shown = await database.queries.execution("child")
    assert (shown.parent_execution_id, shown.parent_node_id) == ("parent", "call")
    (log,) = await database.queries.logs("parent")
    assert log.child_execution_id == "child"
    assert await holds(database)


async def test_who_lost_the_lease_calls_nobody(database: Database, clock: MovingClock) -> None:
    await database.submissions.submit(submission("parent"))
    lost = await claim(database, "lost")
    seq = await begin_call(database, lost)
    clock.advance(LEASE + 1)
    await claim(database)
    with pytest.raises(LeaseLostError):
        await database.journal.record_step(
            lost, seq, BEGINS, "call", NodeChanges(ended=[waits_for("child")])
        )
    assert await rows(database, children) == []
    assert [row.id for row in await rows(database, executions)] == ["parent"]


async def test_a_parking_that_is_written_again_calls_once(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    for _ in range(3):
        ended = [waits_for("child")]
        await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    assert len(await rows(database, children)) == 1
    assert (await database.queries.execution("child")).seq == 1
    assert await holds(database)


async def test_a_parking_that_is_written_again_forgets_nothing_that_was_said(
    database: Database,
) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    ended = [waits_for("child")]
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    await database.journal.finish(await claim(database), BEGUN, DONE)
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    assert await told(database) == ChildResult("child", "A workflow", "completed", None, '{"n": 1}')


@pytest.mark.parametrize("ending", [DONE, FAILED, CANCELLED])
async def test_every_end_is_told_and_wakes_the_parent(
    database: Database, ending: ExecutionResult
) -> None:
    child = await parked_family(database)
    assert await told(database) is None
    await database.journal.finish(child, BEGUN, ending)
    end = await told(database)
    assert end == ChildResult(
        "child", "A workflow", ending.status, ending.error, ending.final_output
    )
    assert (await claim(database)).execution_id == "parent"
    assert await holds(database)


async def test_an_abandoned_child_is_told(database: Database) -> None:
    child = await parked_family(database)
    await database.journal.abandon(child, "it brought the service down")
    end = await told(database)
    assert end is not None
    assert (end.status, end.error) == ("failed", "it brought the service down")


async def test_a_child_that_is_cancelled_before_it_ran_is_told(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    await calls(database, parent, "child")
    await database.journal.park(parent, None)
    await database.queue.request_cancel("child")
    end = await told(database)
    assert end is not None
    assert end.failure == "subworkflow 'A workflow' (execution child) was cancelled"
    assert (await claim(database)).execution_id == "parent"


async def test_a_child_that_another_program_ended_in_the_queue_is_told(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    await calls(database, parent, "child")
    await write(
        database,
        update(executions)
        .where(executions.c.id == "child")
        .values(status="cancelled", completedAt="2026-01-01T00:00:00.000Z"),
    )
    assert await database.queue.claim("me", 1, LEASE) == []
    end = await told(database)
    assert end is not None
    assert end.status == "cancelled"


async def test_an_end_that_comes_before_the_parent_parks_is_not_lost(database: Database) -> None:
    parent, child = await family(database)
    await database.journal.finish(child, BEGUN, DONE)
    assert await database.journal.resumptions(parent) == {
        "call": Resumption(child=ChildResult("child", "A workflow", "completed", None, '{"n": 1}'))
    }
    await database.journal.park(parent, None)
    assert (await claim(database)).execution_id == "parent"


async def test_what_was_said_is_not_kept_beside_the_output(database: Database) -> None:
    parent, child = await family(database)
    await database.journal.finish(child, BEGUN, DONE)
    ended = [NodeEnded("call", NodeStatus.COMPLETED, None, '{"n": 1}', "{}")]
    progress = Progress(1, 1, 0, 0)
    await database.journal.record_step(parent, BEGUN + 2, progress, None, NodeChanges(ended=ended))
    assert await told(database) is None
    (log,) = await database.queries.logs("parent")
    assert log.child_execution_id == "child"


async def test_nobody_answers_for_a_child(database: Database) -> None:
    await parked_family(database)
    with pytest.raises(WaitingForChildError):
        await database.journal.resume("parent", "call", Resumption())
    assert await told(database) is None


# Cancelling


async def test_cancelling_reaches_every_generation(database: Database) -> None:
    child = await three_generations(database)
    await database.queue.request_cancel("grandparent")
    assert await status(database, "grandparent") == "cancelled"
    assert await status(database, "parent") == "cancelled"
    assert await database.queue.cancellations("me") == ["child"]
    assert await holds(database)
    await database.journal.finish(child, BEGUN, CANCELLED)
    assert await told(database) is None
    assert await holds(database)
    assert await database.queue.claim("me", 9, LEASE) == []


@pytest.mark.parametrize("ending", [FAILED, CANCELLED])
async def test_the_end_of_a_parent_that_runs_cancels_what_it_called(
    database: Database, ending: ExecutionResult
) -> None:
    parent, _ = await family(database)
    await database.journal.finish(parent, BEGUN + 2, ending)
    assert await database.queue.cancellations("me") == ["child"]
    assert await holds(database)


async def test_a_parent_that_is_abandoned_cancels_what_it_called(database: Database) -> None:
    parent, _ = await family(database)
    await database.journal.abandon(parent, "it brought the service down")
    assert await database.queue.cancellations("me") == ["child"]


async def test_a_child_that_waits_for_a_slot_is_cancelled_at_once(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await calls(database, parent, "child")
    await database.journal.finish(parent, seq, FAILED)
    assert await status(database, "child") == "cancelled"
    assert await holds(database)


async def test_a_node_that_waits_no_longer_has_its_child_cancelled(database: Database) -> None:
    parent, child = await family(database)
    late = NodeEnded("call", NodeStatus.ERROR, None, error="too late", abandoned_child="child")
    progress = Progress(1, 0, 1, 0)
    await database.journal.record_step(parent, BEGUN + 2, progress, None, NodeChanges(ended=[late]))
    assert await database.queue.cancellations("me") == ["child"]
    await database.journal.finish(child, BEGUN, CANCELLED)
    assert await told(database) is None
    assert await database.journal.resumptions(parent) == {}


async def test_an_end_changes_nothing_of_those_who_ended_before(database: Database) -> None:
    parent, child = await family(database)
    await database.journal.finish(child, BEGUN, DONE)
    before = await database.queries.execution("child")
    await database.journal.finish(parent, BEGUN + 2, FAILED)
    assert await database.queries.execution("child") == before
