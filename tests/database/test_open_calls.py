"""Calls that others interfere with: programs that delete, workflows that go, ends that coincide."""

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

# What other programs do


async def test_the_sweep_finds_nothing_where_all_goes_well(database: Database) -> None:
    await parked_family(database)
    assert await database.child_executions.sweep() == 0


async def test_a_node_hears_that_what_it_called_was_deleted(database: Database) -> None:
    await parked_family(database)
    await write(database, delete(executions).where(executions.c.id == "child"))
    assert await database.child_executions.sweep() == 1
    end = await told(database)
    assert end is not None
    assert end.failure == "subworkflow (execution child) failed: the execution was deleted"
    assert (await claim(database)).execution_id == "parent"
    assert await database.child_executions.sweep() == 0


async def test_a_parked_child_that_another_program_ended_is_told_too(database: Database) -> None:
    child = await parked_family(database)
    await calls(database, child, "grandchild", 2, "parent")
    await database.journal.park(child, None)
    await write(
        database, update(executions).where(executions.c.id == "child").values(status="failed")
    )
    assert await database.child_executions.sweep() == 2  # and what it called goes on for nobody
    end = await told(database)
    assert end is not None
    assert end.status == "failed"
    assert await status(database, "grandchild") == "cancelled"


async def test_a_child_of_a_parent_that_was_deleted_is_cancelled(database: Database) -> None:
    child = await parked_family(database)
    await write(database, delete(executions).where(executions.c.id == "parent"))
    assert await database.child_executions.sweep() == 1
    assert await database.queue.cancellations("me") == ["child"]
    assert await database.child_executions.sweep() == 0  # it is asked once
    assert (await database.child_executions.caller("child")).depth == 1
    await database.journal.finish(child, BEGUN, CANCELLED)
    await database.child_executions.sweep()
    assert await rows(database, children) == []


async def test_a_workflow_that_was_deleted_since_it_was_read_fails_the_call(
    database: Database,
) -> None:
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    seq = await begin_call(database, parent)
    ended = [waits_for("child", workflow_id="gone")]
    await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=ended))
    await database.journal.park(parent, None)
    end = await told(database)
    assert end is not None
    assert "Workflow 'gone' or its organization was deleted" in (end.failure or "")
    assert (await claim(database)).execution_id == "parent"


async def test_deleting_a_workflow_tells_and_cancels_whom_it_concerns(database: Database) -> None:
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
    end = await told(database)
    assert end is not None
    assert "was deleted" in (end.failure or "")
    assert await database.queue.cancellations("me") == ["grandchild"]


async def test_what_has_ended_is_forgotten_each_by_itself(
    database: Database, clock: MovingClock
) -> None:
    parent, child = await family(database)
    await database.journal.finish(child, BEGUN, DONE)
    clock.advance(86_400 * 2)
    await database.queue.renew("me", ["parent"], LEASE)
    assert await database.retention.delete_expired(1, None) == 1
    assert list((await database.journal.resumptions(parent)).keys()) == ["call"]
    assert await holds(database)
    await database.journal.abandon(parent, "enough")
    clock.advance(86_400 * 2)
    assert await database.retention.delete_expired(1, None) == 1
    assert await rows(database, children) == []


# Depth


async def test_a_chain_names_the_workflows_from_the_outside_in(database: Database) -> None:
    await three_generations(database)
    assert [
        (await database.child_executions.caller(i)).depth for i in ("grandparent", "child")
    ] == [0, 2]
    assert await database.child_executions.chain("child") == [("A workflow", "w")] * 3


async def called_of_root(database: Database, execution_id: str) -> tuple[str, int]:
    caller = await database.child_executions.caller(execution_id)
    return caller.root_id, caller.called_of_root


async def test_what_goes_back_to_one_execution_is_counted_for_all_of_them(
    database: Database,
) -> None:
    await three_generations(database)
    for execution_id in ("grandparent", "parent", "child"):
        assert await called_of_root(database, execution_id) == ("grandparent", 2)
    await database.submissions.submit(submission("stranger"))
    assert await called_of_root(database, "stranger") == ("stranger", 0)


async def test_forgetting_what_was_called_makes_no_room_for_more_calls(
    database: Database, clock: MovingClock
) -> None:
    child = await three_generations(database)
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
    assert await holds(database)


# At the same time


@pytest.mark.parametrize("how", ["parks", "fails", "is cancelled"])
async def test_parent_and_child_may_end_in_the_same_moment(database: Database, how: str) -> None:
    for i in range(25):
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
    assert await holds(database)


@pytest.mark.parametrize("how", ["ends", "is found deleted"])
async def test_a_parent_that_parks_as_its_child_ends_hears_of_it(
    database: Database, how: str
) -> None:
    for i in range(25):
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
    rows_ = await rows(database, runs)
    assert all(row.owner is None for row in rows_)


async def test_an_answer_that_comes_as_the_execution_parks_is_heard(database: Database) -> None:
    for i in range(25):
        await database.submissions.submit(submission(f"p{i}"))
        parent = await claim(database)
        seq = await begin_call(database, parent)
        asks = [NodeEnded("call", NodeStatus.WAITING, 1, "null", '{"park": {}}')]
        await database.journal.record_step(parent, seq, BEGINS, "call", NodeChanges(ended=asks))
        await asyncio.gather(
            database.journal.park(parent, None),
            database.journal.resume(f"p{i}", "call", Resumption()),
        )
        again = await claim(database)
        assert again.execution_id == f"p{i}"
        await database.journal.abandon(again, "enough")
