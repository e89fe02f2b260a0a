"""Child executions: stored when a node is parked, reported at their end, cancelled with parents."""

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
    invariants_hold,
    notified_result,
    parked_parent,
    rows,
    running_pair,
    status,
    submission,
    three_levels,
    waits_for,
    write,
)
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN


async def test_a_child_is_stored_when_its_node_is_parked(database: Database) -> None:
    parent, child = await running_pair(database)
    assert child.execution_id == "child"
    record = await database.journal.load(parent)
    assert record.parked[NodeRunKey("call")].child_id == "child"
    assert (await database.journal.load(child)).parent_id == "parent"
    child_execution = await database.queries.execution("child")
    assert (child_execution.parent_execution_id, child_execution.parent_node_id) == (
        "parent",
        "call",
    )
    (log,) = await database.queries.logs("parent")
    assert log.child_execution_id == "child"
    assert await invariants_hold(database)


async def test_a_worker_without_the_lease_creates_no_children(
    database: Database, clock: MovingClock
) -> None:
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


async def test_a_repeated_parking_creates_one_child(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    for _ in range(3):
        ended = [waits_for("child")]
        await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    assert len(await rows(database, children)) == 1
    assert (await database.queries.execution("child")).seq == 1
    assert await invariants_hold(database)


async def test_a_repeated_parking_keeps_the_resumption(
    database: Database,
) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    ended = [waits_for("child")]
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    await database.journal.finish(await claim(database), BEGUN, DONE)
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    assert await notified_result(database) == ChildResult(
        "child", "A workflow", "completed", None, '{"n": 1}'
    )


@pytest.mark.parametrize("ending", [DONE, FAILED, CANCELLED])
async def test_every_end_of_a_child_resumes_the_parent(
    database: Database, ending: ExecutionResult
) -> None:
    child = await parked_parent(database)
    assert await notified_result(database) is None
    await database.journal.finish(child, BEGUN, ending)
    end = await notified_result(database)
    assert end == ChildResult(
        "child", "A workflow", ending.status, ending.error, ending.final_output
    )
    assert (await claim(database)).execution_id == "parent"
    assert await invariants_hold(database)


async def test_the_parent_gets_the_error_of_an_abandoned_child(database: Database) -> None:
    child = await parked_parent(database)
    await database.journal.abandon(child, "it crashed the service")
    end = await notified_result(database)
    assert end is not None
    assert (end.status, end.error) == ("failed", "it crashed the service")


async def test_the_parent_is_notified_of_a_child_that_is_cancelled_before_it_ran(
    database: Database,
) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    await calls(database, parent, "child")
    await database.journal.park(parent, None)
    await database.queue.request_cancel("child")
    end = await notified_result(database)
    assert end is not None
    assert end.failure == "subworkflow 'A workflow' (execution child) was cancelled"
    assert (await claim(database)).execution_id == "parent"


async def test_the_parent_is_notified_of_a_queued_child_that_another_program_ended(
    database: Database,
) -> None:
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
    end = await notified_result(database)
    assert end is not None
    assert end.status == "cancelled"


async def test_an_end_before_the_parent_parks_is_not_lost(database: Database) -> None:
    parent, child = await running_pair(database)
    await database.journal.finish(child, BEGUN, DONE)
    assert await database.journal.resumptions(parent) == {
        "call": Resumption(child=ChildResult("child", "A workflow", "completed", None, '{"n": 1}'))
    }
    await database.journal.park(parent, None)
    assert (await claim(database)).execution_id == "parent"


async def test_a_resumption_is_deleted_when_the_output_is_stored(database: Database) -> None:
    parent, child = await running_pair(database)
    await database.journal.finish(child, BEGUN, DONE)
    ended = [NodeEnded("call", NodeStatus.COMPLETED, None, '{"n": 1}', "{}")]
    progress = Progress(1, 1, 0, 0)
    await database.journal.record_step(parent, BEGUN + 2, progress, None, NodeChanges(ended=ended))
    assert await notified_result(database) is None
    (log,) = await database.queries.logs("parent")
    assert log.child_execution_id == "child"


async def test_a_node_that_waits_for_a_child_cannot_be_resumed(database: Database) -> None:
    await parked_parent(database)
    with pytest.raises(WaitingForChildError):
        await database.journal.resume("parent", "call", Resumption())
    assert await notified_result(database) is None


# Cancellation


async def test_cancellation_reaches_every_level(database: Database) -> None:
    child = await three_levels(database)
    await database.queue.request_cancel("grandparent")
    assert await status(database, "grandparent") == "cancelled"
    assert await status(database, "parent") == "cancelled"
    assert await database.queue.cancellations("me") == ["child"]
    assert await invariants_hold(database)
    await database.journal.finish(child, BEGUN, CANCELLED)
    assert await notified_result(database) is None
    assert await invariants_hold(database)
    assert await database.queue.claim("me", 9, LEASE) == []


@pytest.mark.parametrize("ending", [FAILED, CANCELLED])
async def test_the_end_of_a_running_parent_cancels_its_children(
    database: Database, ending: ExecutionResult
) -> None:
    parent, _ = await running_pair(database)
    await database.journal.finish(parent, BEGUN + 2, ending)
    assert await database.queue.cancellations("me") == ["child"]
    assert await invariants_hold(database)


async def test_an_abandoned_parent_cancels_its_children(database: Database) -> None:
    parent, _ = await running_pair(database)
    await database.journal.abandon(parent, "it crashed the service")
    assert await database.queue.cancellations("me") == ["child"]


async def test_a_queued_child_is_cancelled_at_once(database: Database) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await calls(database, parent, "child")
    await database.journal.finish(parent, seq, FAILED)
    assert await status(database, "child") == "cancelled"
    assert await invariants_hold(database)


async def test_the_child_of_a_node_that_no_longer_waits_is_cancelled(database: Database) -> None:
    parent, child = await running_pair(database)
    late = NodeEnded("call", NodeStatus.ERROR, None, error="too late", abandoned_child="child")
    progress = Progress(1, 0, 1, 0)
    await database.journal.record_step(parent, BEGUN + 2, progress, None, NodeChanges(ended=[late]))
    assert await database.queue.cancellations("me") == ["child"]
    await database.journal.finish(child, BEGUN, CANCELLED)
    assert await notified_result(database) is None
    assert await database.journal.resumptions(parent) == {}


async def test_the_end_of_a_parent_does_not_change_ended_children(database: Database) -> None:
    parent, child = await running_pair(database)
    await database.journal.finish(child, BEGUN, DONE)
    before = await database.queries.execution("child")
    await database.journal.finish(parent, BEGUN + 2, FAILED)
    assert await database.queries.execution("child") == before
