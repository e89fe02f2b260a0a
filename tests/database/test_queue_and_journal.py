"""Queue and journal, on SQLite and PostgreSQL: every write is guarded."""

import asyncio

import pytest
from sqlalchemy import delete, func, select, update

from database import Database
from database.executions.foreign_ends import EndedElsewhereError
from database.executions.inputs import Submission
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
    RetryLater,
)
from database.executions.queue import ClaimedExecution
from database.records import Lease
from database.tables import definitions, executions
from engine.document import Node
from engine.errors import (
    ExecutionNotFoundError,
    LeaseLostError,
    WorkflowNotFoundError,
)
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from engine.status import ExecutionStatus, NodeStatus
from tests.support.call_trees import write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

LEASE = 30.0
NOTHING_YET = Progress(2, 0, 0, 0)
A, B = Node("a", "trigger", "A", {}), Node("b", "output", "B", {})


async def submit(database: Database, execution_id: str, **changes: object) -> None:
    values: dict[str, object] = {
        "execution_id": execution_id,
        "workflow_id": "w",
        "workflow_name": "A workflow",
        "organization_id": None,
        "document": '{"nodes": []}',
        "inputs": '{"x":1}',
        "total_nodes": 2,
        **changes,
    }
    await database.submissions.submit(Submission(**values))  # type: ignore[arg-type]


async def claim_one(database: Database, owner: str = "me") -> Lease:
    (run,) = await database.queue.claim(owner, 1, LEASE)
    return run.lease


def ids(claimed: list[ClaimedExecution]) -> list[str]:
    return [run.lease.execution_id for run in claimed]


async def status(database: Database, execution_id: str) -> str:
    return (await database.queries.execution(execution_id)).status


async def test_a_submission_is_pending_until_it_is_claimed(database: Database) -> None:
    await submit(database, "e1")
    execution = await database.queries.execution("e1")
    assert execution.status == ExecutionStatus.PENDING
    assert execution.progress == NOTHING_YET
    assert execution.created_at == "2026-01-01T00:00:00.000Z"
    (run,) = await database.queue.claim("me", 5, LEASE)
    assert run.workflow_name == "A workflow"
    assert await status(database, "e1") == ExecutionStatus.RUNNING


async def test_a_submission_for_a_deleted_workflow_stores_nothing(database: Database) -> None:
    with pytest.raises(WorkflowNotFoundError):
        await submit(database, "e1", workflow_id="gone")
    with pytest.raises(ExecutionNotFoundError):
        await database.queries.execution("e1")


async def test_the_oldest_is_claimed_first_and_nothing_twice(database: Database) -> None:
    for i in range(5):
        await submit(database, f"e{i}")
    assert ids(await database.queue.claim("me", 2, LEASE)) == ["e0", "e1"]
    assert ids(await database.queue.claim("you", 9, LEASE)) == ["e2", "e3", "e4"]
    assert await database.queue.claim("me", 9, LEASE) == []


async def test_concurrent_claims_return_each_execution_once(database: Database) -> None:
    for batch in range(10):
        submitted = [f"{batch}-{i}" for i in range(12)]
        for execution_id in submitted:
            await submit(database, execution_id)
        claims = await asyncio.gather(*(database.queue.claim(f"o{i}", 3, LEASE) for i in range(8)))
        claimed = [execution_id for runs in claims for execution_id in ids(runs)]
        assert len(claimed) == len(set(claimed))
        rest = ids(await database.queue.claim("last", 20, LEASE))
        assert sorted(claimed + rest) == sorted(submitted)


async def test_the_execution_of_a_crashed_owner_is_claimable_after_its_lease(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e1")
    await claim_one(database, "crashed")
    clock.advance(LEASE - 0.001)
    assert await database.queue.claim("me", 1, LEASE) == []
    clock.advance(0.001)
    assert ids(await database.queue.claim("me", 1, LEASE)) == ["e1"]


async def test_a_heartbeat_keeps_the_lease(database: Database, clock: MovingClock) -> None:
    await submit(database, "e1")
    await claim_one(database)
    for _ in range(5):
        clock.advance(LEASE * 0.9)
        assert await database.queue.renew("me", ["e1"], LEASE) == {"e1"}
        assert await database.queue.claim("you", 1, LEASE) == []


async def test_an_owner_does_not_claim_executions_that_it_runs(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e1")
    await claim_one(database)
    clock.advance(2 * LEASE)
    assert await database.queue.claim("me", 1, LEASE, excluding=["e1"]) == []


async def test_a_new_owner_resumes_from_the_journal(database: Database, clock: MovingClock) -> None:
    await submit(database, "e1")
    lease = await claim_one(database, "crashed")
    seq = await database.journal.record_step(
        lease,
        BEGUN,
        NOTHING_YET,
        "a",
        NodeChanges(started=[NodeStarted(A, "null", 1, resumed=False)]),
    )
    seq = await database.journal.record_step(
        lease,
        seq,
        Progress(2, 1, 0, 0),
        "b",
        NodeChanges(
            ended=[NodeEnded("a", NodeStatus.COMPLETED, 5, '{"x":1}', '{"success":true}')],
            started=[NodeStarted(B, '{"x":1}', 1, resumed=False)],
        ),
    )
    clock.advance(2 * LEASE)
    record = await database.journal.load(await claim_one(database, "me"))
    # The node was cancelled, the execution was requeued and claimed again.
    assert record.seq == seq + 3 == BEGUN + 6
    assert record.inputs == '{"x":1}'
    assert record.document == '{"nodes": []}'
    assert record.outcomes[NodeRunKey("a")].result == {"success": True, "outputData": {"x": 1}}
    assert record.attempts == {NodeRunKey("b"): 1}
    assert record.cancel_requested is False


async def test_a_restarted_node_keeps_its_row(database: Database) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    seq = await database.journal.record_step(
        lease,
        BEGUN,
        NOTHING_YET,
        "a",
        NodeChanges(started=[NodeStarted(A, "null", 1, resumed=False)]),
    )
    await database.journal.record_step(
        lease,
        seq,
        NOTHING_YET,
        "a",
        NodeChanges(started=[NodeStarted(A, '"again"', 2, resumed=True)]),
    )
    (log,) = await database.queries.logs("e1")
    assert (log.status, log.attempt, log.seq) == ("running", 2, BEGUN + 2)
    assert log.input_data is not None
    assert log.input_data.text == '"again"'


async def test_an_unconfirmed_step_may_be_recorded_again(database: Database) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    for _ in range(2):
        await database.journal.record_step(
            lease,
            0,
            NOTHING_YET,
            "a",
            NodeChanges(
                decided=[NodeOutcomeRecorded(B)], started=[NodeStarted(A, "null", 1, resumed=False)]
            ),
        )
    logs = await database.queries.logs("e1")
    assert [(log.node_id, log.status, log.seq) for log in logs] == [
        ("b", "skipped", 1),
        ("a", "running", 2),
    ]


async def test_an_owner_without_the_lease_writes_nothing(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e1")
    frozen = await claim_one(database, "frozen")
    clock.advance(2 * LEASE)
    await claim_one(database, "me")
    journal = database.journal
    late = [NodeStarted(A, "null", 1, resumed=False)]
    with pytest.raises(LeaseLostError):
        await journal.record_step(frozen, BEGUN, NOTHING_YET, "a", NodeChanges(started=late))
    with pytest.raises(LeaseLostError):
        await journal.record_retry(frozen, 0, "a", RetryLater(2, 1, "oh"))
    with pytest.raises(LeaseLostError):
        await journal.finish(frozen, BEGUN, ExecutionResult(ExecutionStatus.COMPLETED, NOTHING_YET))
    with pytest.raises(LeaseLostError):
        await journal.abandon(frozen, "oh")
    with pytest.raises(LeaseLostError):
        await journal.load(frozen)
    with pytest.raises(LeaseLostError):
        await database.queue.release(frozen)
    assert await database.queries.logs("e1") == []
    assert await status(database, "e1") == ExecutionStatus.RUNNING
    assert await database.queue.renew("frozen", ["e1"], LEASE) == set()


@pytest.mark.parametrize(
    "ending", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
)
async def test_a_terminal_status_never_changes_again(
    database: Database, clock: MovingClock, ending: ExecutionStatus
) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    await database.journal.finish(
        lease, BEGUN, ExecutionResult(ending, NOTHING_YET, final_output="{}")
    )
    clock.advance(10 * LEASE)
    assert await database.queue.claim("you", 1, LEASE) == []
    with pytest.raises(LeaseLostError):
        await database.journal.finish(
            lease, BEGUN, ExecutionResult(ExecutionStatus.FAILED, NOTHING_YET)
        )
    with pytest.raises(LeaseLostError):
        await database.queue.release(lease)
    assert await database.queue.request_cancel("e1") == ending
    assert await status(database, "e1") == ending


async def test_an_owner_learns_whether_another_program_ended_or_deleted_the_execution(
    database: Database,
) -> None:
    journal = database.journal
    for execution_id in ("e1", "e2"):
        await submit(database, execution_id)
    lease, other = (run.lease for run in await database.queue.claim("me", 2, LEASE))
    seq = await journal.record_step(lease, BEGUN, NOTHING_YET, "a", NodeChanges())
    is_first = executions.c.id == lease.execution_id
    await write(database, update(executions).where(is_first).values(status="completed"))
    await write(database, delete(executions).where(~is_first))
    for late in (
        journal.record_step(lease, seq, NOTHING_YET, "a", NodeChanges()),
        journal.park(lease, None),
    ):
        with pytest.raises(EndedElsewhereError):
            await late
    for late in (
        journal.record_step(other, BEGUN, NOTHING_YET, "a", NodeChanges()),
        journal.park(other, None),
    ):
        with pytest.raises(LeaseLostError) as caught:
            await late
        assert not isinstance(caught.value, EndedElsewhereError)


async def test_the_end_and_the_last_nodes_are_stored_together(database: Database) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    started = [NodeStarted(A, "null", 1, resumed=False)]
    seq = await database.journal.record_step(
        lease, BEGUN, NOTHING_YET, "a", NodeChanges(started=started)
    )
    await database.journal.finish(
        lease,
        seq,
        ExecutionResult(ExecutionStatus.COMPLETED, Progress(2, 1, 0, 1), None, "{}", '{"x":1}'),
        NodeChanges(
            ended=[NodeEnded("a", NodeStatus.COMPLETED, 7, '{"x":1}')],
            decided=[NodeOutcomeRecorded(B)],
        ),
    )
    execution = await database.queries.execution("e1", output_characters=100)
    assert execution.final_output is not None
    assert (execution.status, execution.final_output.text) == ("completed", '{"x":1}')
    assert (execution.current_node_id, execution.seq) == (None, BEGUN + 4)
    assert execution.progress == Progress(2, 1, 0, 1)
    logs = await database.queries.logs("e1")
    assert [(log.node_id, log.status) for log in logs] == [("a", "completed"), ("b", "skipped")]


async def test_a_retry_and_a_report_change_the_row_of_their_node_only(database: Database) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    journal = database.journal
    both = [NodeStarted(node, "null", 1, resumed=False) for node in (A, B)]
    seq = await journal.record_step(lease, BEGUN, NOTHING_YET, "a", NodeChanges(started=both))
    seq = await journal.record_retry(lease, seq, "a", RetryLater(2, 1, "oh"))
    await journal.record_report(lease, seq, "b", 50, "half")
    rows = {log.node_id: log for log in await database.queries.logs("e1")}
    assert (rows["a"].attempt, rows["a"].last_error, rows["a"].seq) == (2, "oh", seq)
    assert (rows["b"].attempt, rows["b"].last_error, rows["b"].seq) == (1, None, seq + 1)


async def test_a_released_execution_returns_to_its_position_after_the_delay(
    database: Database, clock: MovingClock
) -> None:
    await submit(database, "e1")
    await submit(database, "e2")
    lease = await claim_one(database)
    started = [NodeStarted(A, "null", 1, resumed=False)]
    await database.journal.record_step(lease, BEGUN, NOTHING_YET, "a", NodeChanges(started=started))
    await database.queue.release(lease, 5)
    assert await status(database, "e1") == ExecutionStatus.PENDING
    (log,) = await database.queries.logs("e1")
    assert log.status == NodeStatus.CANCELLED
    assert ids(await database.queue.claim("you", 1, LEASE)) == ["e2"]
    clock.advance(5)
    assert ids(await database.queue.claim("you", 1, LEASE)) == ["e1"]


async def test_the_owner_of_a_running_execution_finds_its_cancellation(database: Database) -> None:
    await submit(database, "e1")
    lease = await claim_one(database)
    assert await database.queue.request_cancel("e1") == ExecutionStatus.RUNNING
    assert await status(database, "e1") == ExecutionStatus.RUNNING
    assert await database.queue.cancellations("me") == ["e1"]
    assert await database.queue.cancellations("you") == []
    assert (await database.journal.load(lease)).cancel_requested is True


async def test_cancelling_an_unowned_execution_ends_it_at_once(database: Database) -> None:
    await submit(database, "e1")
    assert await database.queue.request_cancel("e1") == ExecutionStatus.PENDING
    assert await status(database, "e1") == ExecutionStatus.CANCELLED
    assert await database.queue.claim("me", 1, LEASE) == []
    with pytest.raises(ExecutionNotFoundError):
        await database.queue.request_cancel("nope")


async def test_a_failing_change_does_not_affect_other_changes(database: Database) -> None:
    good = [submit(database, f"e{i}") for i in range(10)]
    bad = [submit(database, f"x{i}", workflow_id="gone") for i in range(10)]
    mixed = [job for pair in zip(good, bad, strict=True) for job in pair]
    results = await asyncio.gather(*mixed, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), WorkflowNotFoundError] * 10
    _, page, total = await database.listings.executions_of("w", 100)
    assert total == len(page.items) == 10


async def test_a_shared_definition_is_stored_once(database: Database) -> None:
    for i in range(3):
        await submit(database, f"e{i}")
    await submit(database, "other", document="{}")
    query = select(func.count()).select_from(definitions)
    count = await database._access.reader.run(lambda connection: connection.scalar(query))
    assert count == 2
