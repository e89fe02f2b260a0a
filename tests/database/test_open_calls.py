"""Open calls: other programs, deleted workflows and concurrent ends interfere with calls."""

import asyncio

import pytest
from sqlalchemy import delete, update

from database import Database
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.records import WorkflowChange
from database.tables import children, executions, runs
from engine.parking import Resumption
from engine.status import NodeStatus
from tests.support.call_trees import (
    BEGINS,
    CALL,
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
from tests.support.generated import FACTOR
from tests.support.stored_executions import BEGUN

ROUNDS = round(25 * FACTOR)
"""Number of tries of a race. ``test_lock_order.py`` tests the order of the locks without chance."""

# Changes by other programs


async def test_the_sweep_finds_nothing_without_interference(database: Database) -> None:
    await parked_parent(database)
    assert await database.child_executions.sweep() == 0


async def test_a_node_is_notified_of_a_deleted_child(database: Database) -> None:
    await parked_parent(database)
    await write(database, delete(executions).where(executions.c.id == "child"))
    assert await database.child_executions.sweep() == 1
    end = await notified_result(database)
    assert end is not None
    assert end.failure == "subworkflow (execution child) failed: the execution was deleted"
    assert (await claim(database)).execution_id == "parent"
    assert await database.child_executions.sweep() == 0


async def test_the_parent_is_notified_of_a_parked_child_that_another_program_ended(
    database: Database,
) -> None:
    child = await parked_parent(database)
    await calls(database, child, "grandchild", 2, "parent")
    await database.journal.park(child, None)
    await write(
        database, update(executions).where(executions.c.id == "child").values(status="failed")
    )
    assert await database.child_executions.sweep() == 2  # also for the grandchild
    end = await notified_result(database)
    assert end is not None
    assert end.status == "failed"
    assert await status(database, "grandchild") == "cancelled"


async def test_the_child_of_a_deleted_parent_is_cancelled(database: Database) -> None:
    child = await parked_parent(database)
    await write(database, delete(executions).where(executions.c.id == "parent"))
    assert await database.child_executions.sweep() == 1
    assert await database.queue.cancellations("me") == ["child"]
    assert await database.child_executions.sweep() == 0  # the cancellation is requested once
    assert (await database.child_executions.caller("child")).depth == 1
    await database.journal.finish(child, BEGUN, CANCELLED)
    await database.child_executions.sweep()
    assert await rows(database, children) == []


async def test_a_workflow_deleted_after_the_read_fails_the_call(
    database: Database,
) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    ended = [waits_for("child", workflow_id="gone")]
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    await database.journal.park(parent, None)
    end = await notified_result(database)
    assert end is not None
    assert "Workflow 'gone' or its organization was deleted" in (end.failure or "")
    assert await database.child_executions.sweep() == 0
    assert (await claim(database)).execution_id == "parent"


async def test_deleting_a_workflow_notifies_parents_and_cancels_children(
    database: Database,
) -> None:
    await database.workflows.create("other", None, WorkflowChange("Other", "{}"))
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    ended = [waits_for("child", workflow_id="other")]
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    child = await claim(database)
    await calls(database, child, "grandchild", 2, "parent")
    await claim(database)
    await database.journal.park(parent, None)
    stopped = await database.workflows.delete("other", force=True)
    assert set(stopped) == {"child", "grandchild"}
    end = await notified_result(database)
    assert end is not None
    assert "was deleted" in (end.failure or "")
    assert await database.queue.cancellations("me") == ["grandchild"]


async def test_ended_executions_are_deleted_independently_of_their_parents(
    database: Database, clock: MovingClock
) -> None:
    parent, child = await running_pair(database)
    await database.journal.finish(child, BEGUN, DONE)
    clock.advance(86_400 * 2)
    await database.queue.renew("me", ["parent"], LEASE)
    assert await database.retention.delete_expired(1, None) == 1
    assert list((await database.journal.resumptions(parent)).keys()) == ["call"]
    assert await invariants_hold(database)
    await database.journal.abandon(parent, "enough")
    clock.advance(86_400 * 2)
    assert await database.retention.delete_expired(1, None) == 1
    assert await rows(database, children) == []


# Depth


async def test_a_chain_names_the_workflows_from_the_top_level(database: Database) -> None:
    await three_levels(database)
    assert [
        (await database.child_executions.caller(i)).depth for i in ("grandparent", "child")
    ] == [0, 2]
    assert await database.child_executions.chain("child") == [("A workflow", "w")] * 3


async def called_of_root(database: Database, execution_id: str) -> tuple[str, int]:
    caller = await database.child_executions.caller(execution_id)
    return caller.root_id, caller.called_of_root


async def test_calls_are_counted_for_the_top_level_execution(
    database: Database,
) -> None:
    await three_levels(database)
    for execution_id in ("grandparent", "parent", "child"):
        assert await called_of_root(database, execution_id) == ("grandparent", 2)
    await database.submissions.submit(submission("stranger"))
    assert await called_of_root(database, "stranger") == ("stranger", 0)


async def test_deleted_children_still_count_as_calls(
    database: Database, clock: MovingClock
) -> None:
    child = await three_levels(database)
    await database.journal.finish(child, BEGUN, DONE)
    await database.journal.abandon(await claim(database), "enough")
    grandparent = await claim(database)
    clock.advance(86_400 * 2)
    await database.queue.renew("me", ["grandparent"], LEASE)
    assert await database.retention.delete_expired(1, None) == 2
    await database.child_executions.sweep()
    assert await called_of_root(database, "grandparent") == ("grandparent", 2)
    await database.journal.abandon(grandparent, "enough")
    clock.advance(86_400 * 2)
    assert await database.retention.delete_expired(1, None) == 1
    await database.child_executions.sweep()
    assert await rows(database, children) == []
    assert await invariants_hold(database)


# Concurrent ends


@pytest.mark.parametrize("how", ["parks", "fails", "is cancelled"])
async def test_parent_and_child_may_end_concurrently(database: Database, how: str) -> None:
    for i in range(ROUNDS):
        parent_id, child_id = f"p{i}", f"c{i}"
        await database.submissions.submit(submission(parent_id))
        parent = await claim(database)
        seq = await calls(database, parent, child_id)
        child = await claim(database)
        if how == "is cancelled":
            await database.journal.park(parent, None)
        other = {
            "parks": lambda p=parent: database.journal.park(p, None),
            "fails": lambda p=parent, s=seq: database.journal.finish(p, s, FAILED),
            "is cancelled": lambda p=parent_id: database.queue.request_cancel(p),
        }[how]
        started = NodeStarted(CALL, "null", 1, resumed=False)
        await asyncio.gather(
            other(),
            database.journal.record_step(
                child, BEGUN, BEGINS, "call", NodeChanges(started=[started])
            ),
        )
        await asyncio.gather(
            database.journal.finish(child, BEGUN + 1, DONE),
            database.queue.renew("me", [parent_id], LEASE),
        )
        if how == "parks":
            assert (await claim(database)).execution_id == parent_id
            await database.queue.request_cancel(parent_id)
    assert await invariants_hold(database)


@pytest.mark.parametrize("how", ["ends", "is found deleted"])
async def test_a_parent_that_parks_while_its_child_ends_is_notified(
    database: Database, how: str
) -> None:
    for i in range(ROUNDS):
        await database.submissions.submit(submission(f"p{i}"))
        parent = await claim(database)
        await calls(database, parent, f"c{i}")
        child = await claim(database)
        if how == "ends":
            end = database.journal.finish(child, BEGUN, DONE)
        else:
            await write(database, delete(executions).where(executions.c.id == f"c{i}"))
            end = database.child_executions.sweep()
        await asyncio.gather(database.journal.park(parent, None), end)
        again = await claim(database)
        assert again.execution_id == f"p{i}"
        await database.journal.abandon(again, "enough")
    assert all(row.owner is None for row in await rows(database, runs))


async def test_a_resumption_during_parking_is_not_lost(database: Database) -> None:
    for i in range(ROUNDS):
        await database.submissions.submit(submission(f"p{i}"))
        parent = await claim(database)
        seq = await begin_call(database, parent)
        parked = [NodeEnded("call", NodeStatus.WAITING, 1, "null", '{"park": {}}')]
        await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=parked))
        await asyncio.gather(
            database.journal.park(parent, None),
            database.journal.resume(f"p{i}", "call", Resumption()),
        )
        again = await claim(database)
        assert again.execution_id == f"p{i}"
        await database.journal.abandon(again, "enough")
