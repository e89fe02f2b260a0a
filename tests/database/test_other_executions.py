"""Changes of one execution leave all others as they are, and wait for none of them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from database import Database
from database.executions.journal_records import NodeChanges, NodeEnded, RetryLater
from database.records import Lease
from database.tables import children, events, executions, logs, runs
from engine.errors import LeaseLostError
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import NodeStatus
from tests.support.call_trees import CANCELLED, DONE, LEASE, calls, rows, submission
from tests.support.fake_clock import MovingClock
from tests.support.two_workers import Workers

OTHERS = ("running", "parked", "queued")
NODE = "ask"


async def state(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of the other executions, by table."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in (executions, logs, runs, events, children):
        every = await rows(database, table)
        own = "id" if table is executions else "executionId"
        found[table.name] = [tuple(row) for row in every if getattr(row, own) in OTHERS]
    return found


async def resume(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.resume(lease.execution_id, NODE, Resumption())


async def park(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.park(lease, datetime(2030, 1, 1, tzinfo=UTC))


async def end_node(database: Database, lease: Lease, seq: int) -> None:
    ended = NodeEnded(NODE, NodeStatus.COMPLETED, 7, '"out"', "{}", waited_ms=5)
    changes = NodeChanges(ended=[ended])
    await database.journal.record_step(lease, seq, Progress(1, 1, 0, 0), None, changes)


async def retry(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.record_retry(lease, seq, NODE, RetryLater(2, 1, "broke"))


async def report(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.record_report(lease, seq, NODE, 50, "half")


async def finish(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.finish(lease, seq, DONE)


async def end_cancelled(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.finish(lease, seq, CANCELLED)


async def abandon(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.abandon(lease, "it crashed")


async def cancel(database: Database, lease: Lease, seq: int) -> None:
    await database.queue.request_cancel(lease.execution_id)


async def cancel_parked(database: Database, lease: Lease, seq: int) -> None:
    await database.journal.park(lease, None)
    await database.queue.request_cancel(lease.execution_id)


async def release(database: Database, lease: Lease, seq: int) -> None:
    await database.queue.release(lease, 60)


async def renew(database: Database, lease: Lease, seq: int) -> None:
    # The owner has lost ``running`` to another worker, and does not know it yet.
    owned = await database.queue.renew(lease.owner, [lease.execution_id, *OTHERS], LEASE)
    assert owned == {lease.execution_id}


async def link_flow_run(database: Database, lease: Lease, seq: int) -> None:
    await database.queue.link_flow_run(lease, "flow-run")


Change = Callable[[Database, Lease, int], Awaitable[None]]
CHANGES: list[Change] = [
    resume,
    park,
    end_node,
    retry,
    report,
    finish,
    end_cancelled,
    abandon,
    cancel,
    cancel_parked,
    release,
    renew,
    link_flow_run,
]


async def begun(workers: Workers) -> tuple[Lease, int]:
    """Store an execution of the first worker whose node waits, and the others; return its lease."""
    first, second = workers
    await second.ask(await second.start("running"))
    await second.park(await second.start("parked"))
    lease = await first.start("own")
    seq = await first.ask(lease)
    await second.submit("queued")
    return lease, seq


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_an_execution_leaves_the_others_as_they_are(
    workers: Workers, clock: MovingClock, change: Change
) -> None:
    lease, seq = await begun(workers)
    database = workers[0].database
    before = await state(database)
    assert [len(before[table.name]) for table in (executions, runs, logs)] == [3, 3, 2]
    clock.advance(1)
    await change(database, lease, seq)
    assert await state(database) == before


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_an_execution_waits_for_no_other_one(
    workers: Workers, change: Change
) -> None:
    lease, seq = await begun(workers)
    database = workers[0].database
    connection = await asyncpg.connect(database._url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            lock = "SELECT 1 FROM {} WHERE {} <> $1 FOR UPDATE"
            for table, column in (
                ("orchestrator_runs", '"executionId"'),
                ("workflow_executions", "id"),
                ("execution_logs", '"executionId"'),
            ):
                await connection.execute(lock.format(table, column), lease.execution_id)
            async with asyncio.timeout(30):
                await change(database, lease, seq)
    finally:
        await connection.close()


async def test_a_loaded_outcome_has_the_size_of_its_output(workers: Workers) -> None:
    first, _ = workers
    lease = await first.start("e")
    seq = await first.ask(lease)
    output = '{"text": "é"}'
    ended = NodeEnded(NODE, NodeStatus.COMPLETED, 7, output, '{"message": "m"}')
    changes = NodeChanges(ended=[ended])
    await first.database.journal.record_step(lease, seq, Progress(1, 1, 0, 0), None, changes)
    loaded = await first.database.journal.load(lease)
    (outcome,) = loaded.outcomes.values()
    assert outcome.output == {"text": "é"}
    assert outcome.size == len(output)
    assert outcome.result["message"] == "m"


async def test_an_execution_is_loaded_with_its_own_inputs_request_and_parent(
    workers: Workers,
) -> None:
    first, second = workers
    other = submission("other", request='{"other": 1}', trigger_type="webhook")
    await second.database.submissions.submit(other)
    await calls(second.database, await second.claim_one(), "child")
    child = await second.claim_one()
    lease = await first.start("own", request='{"own": 1}')
    loaded = await first.database.journal.load(lease)
    assert (loaded.request, loaded.trigger_type, loaded.parent_id) == ('{"own": 1}', "manual", None)
    assert (loaded.outcomes, loaded.parked, loaded.attempts) == ({}, {}, {})
    loaded = await second.database.journal.load(child)
    assert (loaded.request, loaded.parent_id) == (None, "other")
    plain = await first.database.journal.load(await first.start("plain"))
    assert plain.request is None


async def test_an_execution_is_loaded_by_its_owner_only(workers: Workers) -> None:
    first, second = workers
    lease = await first.start("e")
    await second.start("other")
    with pytest.raises(LeaseLostError):
        await second.database.journal.load(Lease(lease.execution_id, second.owner, LEASE))
    with pytest.raises(LeaseLostError):
        await first.database.journal.load(Lease("other", first.owner, LEASE))
