"""Rows of node runs: each change writes its own columns and numbers, and a new owner reads them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from database import Database
from database.executions.journal_records import (
    JournalState,
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
    RecordedStep,
    RetryLater,
    TimeSpent,
)
from database.records import Lease
from database.tables import events, logs, runs
from engine.document import Node
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from engine.parking import ParkedNode, ParkedPermit, ParkedRetry, Resumption
from engine.status import NodeStatus
from tests.support.call_trees import LEASE, claim, rows, submission, write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

A, B, C = (Node(name, "custom", name.upper(), {}) for name in "abc")
BEGINS = Progress(3, 0, 0, 0)
START = "2026-01-01T00:00:00.000Z"
SECOND = "2026-01-01T00:00:01.000Z"
THIRD = "2026-01-01T00:00:02.000Z"
DUE = "2026-06-01T00:00:00.000Z"


async def begin(database: Database, execution_id: str = "e") -> Lease:
    await database.submissions.submit(submission(execution_id))
    return await claim(database)


async def record(database: Database, lease: Lease, seq: int, changes: NodeChanges) -> int:
    return await database.journal.record_step(lease, seq, BEGINS, "a", changes)


async def start(database: Database, lease: Lease, seq: int = BEGUN, *nodes: Node) -> int:
    started = [NodeStarted(node, '"in"', 1, resumed=False) for node in nodes or (A,)]
    return await record(database, lease, seq, NodeChanges(started=started))


async def columns(database: Database, node_id: str, *names: str) -> tuple[Any, ...]:
    (row,) = [row for row in await rows(database, logs) if row.nodeId == node_id]
    return tuple(getattr(row, name) for name in names)


async def change(database: Database, node_id: str, **values: object) -> None:
    await write(database, update(logs).where(logs.c.nodeId == node_id).values(**values))


async def loaded(database: Database, lease: Lease) -> JournalState:
    return await database.journal.load(lease)


async def test_a_parked_retry_keeps_its_first_start_and_counts_its_failures(
    database: Database, clock: MovingClock
) -> None:
    lease = await begin(database)
    seq = await start(database, lease)
    clock.advance(1)
    waits = NodeEnded(
        "a",
        NodeStatus.WAITING,
        7,
        wait_until=DUE,
        waited_ms=5,
        waiting_since=SECOND,
        retry=RetryLater(2, 1, "broke"),
    )
    seq = await record(database, lease, seq, NodeChanges(ended=[waits]))
    failures = ("attempt", "failedAttempts", "lastError")
    times = ("startedAt", "timestamp", "startSeq", "endedAt", "duration", "waitedMs")
    wait = ("status", "waitUntil", "waitingSince")
    assert await columns(database, "a", *failures) == (2, 1, "broke")
    assert await columns(database, "a", *times) == (START, START, BEGUN + 1, None, 7, 5)
    assert await columns(database, "a", *wait) == ("waiting", DUE, SECOND)
    clock.advance(1)
    again = NodeStarted(A, '"unused"', 2, resumed=True, was_parked=True, waited_ms=1_005)
    seq = await record(database, lease, seq, NodeChanges(started=[again]))
    assert await columns(database, "a", *failures) == (2, 1, "broke")
    assert await columns(database, "a", *times) == (START, START, BEGUN + 1, None, 7, 1_005)
    assert await columns(database, "a", *wait) == ("running", None, None)
    assert await columns(database, "a", "inputData", "seq") == ('"in"', seq)
    ended = NodeEnded("a", NodeStatus.COMPLETED, None, '"out"')
    await record(database, lease, seq, NodeChanges(ended=[ended]))
    assert await columns(database, "a", *failures) == (2, 1, "broke")
    assert await columns(database, "a", *times) == (START, START, BEGUN + 1, THIRD, 7, 1_005)


async def test_a_node_run_that_starts_again_keeps_its_first_start_only(
    database: Database, clock: MovingClock
) -> None:
    lease = await begin(database)
    seq = await start(database, lease)
    seq = await database.journal.record_report(lease, seq, "a", 50, "half")
    clock.advance(1)
    ended = NodeEnded("a", NodeStatus.CANCELLED, 7, error="it stopped")
    seq = await record(database, lease, seq, NodeChanges(ended=[ended]))
    assert await columns(database, "a", "status", "endedAt") == ("cancelled", SECOND)
    clock.advance(1)
    again = NodeStarted(A, '"other"', 2, resumed=True)
    seq = await record(database, lease, seq, NodeChanges(started=[again]))
    kept = ("inputData", "startedAt", "timestamp", "startSeq", "seq")
    assert await columns(database, "a", *kept) == ('"other"', START, THIRD, seq, seq)
    unset = ("error", "endedAt", "nodePercentage", "nodeMessage", "resumption")
    assert await columns(database, "a", *unset) == (None,) * 5


async def test_the_output_of_a_resumed_node_replaces_its_resumption(database: Database) -> None:
    lease = await begin(database)
    seq = await start(database, lease)
    parked = NodeEnded("a", NodeStatus.WAITING, 7, "{}", '{"park": {}}')
    seq = await record(database, lease, seq, NodeChanges(ended=[parked]))
    await database.journal.resume("e", "a", Resumption())
    seq = await record(database, lease, seq, NodeChanges(ended=[parked]))
    assert (await columns(database, "a", "resumption"))[0] is not None
    ended = NodeEnded("a", NodeStatus.COMPLETED, 7, "{}", "{}")
    await record(database, lease, seq, NodeChanges(ended=[ended]))
    assert await columns(database, "a", "resumption", "resultDetail") == (None, "{}")


async def test_a_node_run_that_starts_and_ends_in_one_write_is_one_row(
    database: Database,
) -> None:
    lease = await begin(database)
    first = NodeChanges(started=[NodeStarted(A, '"in"', 1, resumed=False)])
    second = NodeChanges(
        ended=[NodeEnded("a", NodeStatus.ERROR, 7, '"out"', '{"success": false}', "broke")],
        started=[NodeStarted(B, "{}", 1, resumed=False)],
    )
    steps = [
        RecordedStep(START, first, BEGINS, "a"),
        RecordedStep(SECOND, second, Progress(3, 0, 1, 0), "b"),
    ]
    skipped = NodeOutcomeRecorded(C, NodeStatus.SKIPPED, '"none"', "not reached")
    changes = NodeChanges(
        ended=[NodeEnded("b", NodeStatus.WAITING, 1, "{}", '{"park": {}}')],
        decided=[skipped],
        earlier=steps,
    )
    seq = await database.journal.record_step(lease, BEGUN, Progress(3, 0, 1, 1), "b", changes)
    assert seq == BEGUN + 5
    result = ("status", "outputData", "resultDetail", "error", "duration", "endedAt")
    ended = ("error", '"out"', '{"success": false}', "broke", 7, SECOND)
    assert await columns(database, "a", *result) == ended
    assert await columns(database, "a", "startSeq", "seq") == (BEGUN + 1, BEGUN + 2)
    assert await columns(database, "a", "inputData", "startedAt", "attempt") == ('"in"', START, 1)
    assert await columns(database, "b", "status", "endedAt") == ("waiting", None)
    assert await columns(database, "b", "startSeq", "seq") == (BEGUN + 3, BEGUN + 4)
    decided = ("status", "outputData", "error", "startSeq", "seq", "nodeType", "nodeLabel")
    values = ("skipped", '"none"', "not reached", seq, seq, "custom", "C")
    assert await columns(database, "c", *decided) == values
    found = [
        (row.seq, row.nodeId, row.nodeStatus, row.attempt, row.currentNodeId, row.failedNodes)
        for row in await rows(database, events)
        if row.nodeId is not None
    ]
    assert found == [
        (BEGUN + 1, "a", "running", 1, "a", 0),
        (BEGUN + 2, "a", "error", 1, "b", 1),
        (BEGUN + 3, "b", "running", 1, "b", 1),
        (BEGUN + 4, "b", "waiting", 1, "b", 1),
        (BEGUN + 5, "c", "skipped", None, "b", 1),
    ]


ATTEMPTS = [
    # columns, attempts, attempts that failed
    ({"status": "running", "attempt": 3}, 3, None),
    ({"status": "running", "attempt": None}, 1, None),
    ({"status": "cancelled", "attempt": 2, "failedAttempts": 1}, 2, 1),
    ({"status": "waiting", "attempt": 3, "waitUntil": DUE, "failedAttempts": 2}, 2, 2),
    ({"status": "waiting", "attempt": None, "waitUntil": DUE}, 1, None),
    ({"status": "waiting", "attempt": 3}, 2, None),
    ({"status": "waiting", "attempt": 1}, None, None),
    ({"status": "waiting", "attempt": None}, None, None),
    ({"status": "waiting", "attempt": 3, "resultDetail": '{"park": {}}'}, None, None),
    ({"status": "waiting", "waitUntil": DUE, "resultDetail": '{"park": {}}'}, None, None),
    ({"status": "completed", "attempt": 3, "failedAttempts": 2}, None, None),
]


async def test_a_new_owner_reads_the_attempts_of_each_node_run(database: Database) -> None:
    lease = await begin(database)
    nodes = [Node(f"n{number}", "custom", "N", {}) for number in range(len(ATTEMPTS))]
    await start(database, lease, BEGUN, *nodes)
    for node, (values, _, _) in zip(nodes, ATTEMPTS, strict=True):
        await change(database, node.id, **values)
    state = await loaded(database, lease)
    keys = [NodeRunKey(node.id) for node in nodes]
    assert [state.attempts.get(key) for key in keys] == [count for _, count, _ in ATTEMPTS]
    assert [state.failed_attempts.get(key) for key in keys] == [count for *_, count in ATTEMPTS]


PARKED = [
    # columns, what the node waits for
    ({"waitUntil": DUE}, ParkedRetry(datetime(2026, 6, 1, tzinfo=UTC))),
    (
        {"waitUntil": DUE, "resumption": '{"approved": true}'},
        ParkedRetry(datetime(2026, 6, 1, tzinfo=UTC), resumed=True),
    ),
    ({}, ParkedPermit()),
    (
        {"resultDetail": '{"park": {}}', "outputData": '"out"'},
        ParkedNode({"park": {}, "outputData": "out"}),
    ),
    (
        {"resultDetail": '{"park": {}}', "waitUntil": DUE, "resumption": '{"approved": false}'},
        ParkedNode({"park": {}, "outputData": None}, Resumption(approved=False)),
    ),
]


async def test_a_new_owner_reads_what_each_node_waits_for(database: Database) -> None:
    lease = await begin(database)
    nodes = [Node(f"n{number}", "custom", "N", {}) for number in range(len(PARKED))]
    await start(database, lease, BEGUN, A, *nodes)
    for node, (values, _) in zip(nodes, PARKED, strict=True):
        await change(database, node.id, status="waiting", **values)
    state = await loaded(database, lease)
    waits = [parked for _, parked in PARKED]
    assert state.parked == {
        NodeRunKey(node.id): parked for node, parked in zip(nodes, waits, strict=True)
    }
    assert state.outcomes == {}


async def test_a_new_owner_reads_the_outcomes_and_the_times(database: Database) -> None:
    lease = await begin(database)
    await start(database, lease, BEGUN, A, B, C)
    detail = '{"success": false, "status": 404, "statusCode": 404, "other": 1}'
    await change(database, "a", status="error", error="broke", resultDetail=detail)
    await change(database, "b", status="skipped")
    await change(database, "c", duration=7, waitedMs=5, waitingSince=SECOND)
    state = await loaded(database, lease)
    assert {key: outcome.status for key, outcome in state.outcomes.items()} == {
        NodeRunKey("a"): NodeStatus.ERROR,
        NodeRunKey("b"): NodeStatus.SKIPPED,
    }
    failed = state.outcomes[NodeRunKey("a")]
    assert failed.error == "broke"
    assert "other" not in failed.result
    since = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert state.times == {NodeRunKey("c"): TimeSpent(7, 5, since)}
    await change(database, "c", duration=None, waitedMs=None, waitingSince=None)
    assert (await loaded(database, lease)).times == {NodeRunKey("c"): TimeSpent()}


CANCELLED = [
    # columns, time in which the node run was parked, in milliseconds
    ({"waitedMs": 5, "waitingSince": SECOND}, 5 + 1_000),
    ({"waitedMs": None, "waitingSince": SECOND}, 1_000),
    ({"waitedMs": 5, "waitingSince": DUE}, 5),
    ({"waitedMs": 5, "waitingSince": None}, 5),
    ({"waitedMs": None, "waitingSince": None}, None),
]


async def test_a_cancelled_node_run_has_waited_until_its_end(
    database: Database, clock: MovingClock
) -> None:
    lease = await begin(database)
    nodes = [Node(f"n{number}", "custom", "N", {}) for number in range(len(CANCELLED))]
    await start(database, lease, BEGUN, *nodes)
    await database.journal.park(lease, None)
    for node, (values, _) in zip(nodes, CANCELLED, strict=True):
        await change(database, node.id, status="waiting", **values)
    clock.advance(2)
    await database.queue.request_cancel("e")
    for node, (_, waited) in zip(nodes, CANCELLED, strict=True):
        ended = await columns(database, node.id, "status", "waitedMs", "waitingSince", "endedAt")
        assert ended == ("cancelled", waited, None, THIRD)


async def test_cancelled_node_runs_take_numbers_of_their_own_executions(
    database: Database, clock: MovingClock
) -> None:
    for execution_id, nodes in (("e1", (A, B)), ("e2", (A, B, C))):
        lease = await begin(database, execution_id)
        await start(database, lease, BEGUN, *nodes)
    clock.advance(LEASE)
    await database.queue.claim("you", 0, LEASE)
    found = {row.id: (row.status, row.seq) for row in await rows(database, logs)}
    assert found == {
        "e1:a": ("cancelled", BEGUN + 3),
        "e1:b": ("cancelled", BEGUN + 4),
        "e2:a": ("cancelled", BEGUN + 4),
        "e2:b": ("cancelled", BEGUN + 5),
        "e2:c": ("cancelled", BEGUN + 6),
    }
    ends = {
        f"{row.executionId}:{row.nodeId}": row.seq
        for row in await rows(database, events)
        if row.nodeStatus == "cancelled"
    }
    assert ends == {row_id: seq for row_id, (_, seq) in found.items()}
    numbers = {row.executionId: row.seq for row in await rows(database, runs)}
    assert numbers == {"e1": BEGUN + 5, "e2": BEGUN + 7}  # the requeue took one too


RECOVERIES = [
    # changes, whether a node has ended
    (NodeChanges(ended=[NodeEnded("a", NodeStatus.COMPLETED, 1, "{}")]), True),
    (NodeChanges(started=[NodeStarted(B, "{}", 1, resumed=False)]), False),
    (NodeChanges(decided=[NodeOutcomeRecorded(B)]), False),
]


@pytest.mark.parametrize("is_deferred", [False, True])
@pytest.mark.parametrize(("changes", "has_ended"), RECOVERIES)
async def test_crashes_are_counted_again_after_the_end_of_a_node_only(
    database: Database, changes: NodeChanges, *, has_ended: bool, is_deferred: bool
) -> None:
    lease = await begin(database)
    seq = await start(database, lease)
    await write(database, update(runs).values(recoveries=2))
    if is_deferred:
        changes = NodeChanges(earlier=[RecordedStep(START, changes, BEGINS, "a")])
    await record(database, lease, seq, changes)
    (run,) = await rows(database, runs)
    assert run.recoveries == (0 if has_ended else 2)


async def test_each_change_renews_the_lease_and_names_its_flow_run_once(
    database: Database, clock: MovingClock
) -> None:
    own = replace(await begin(database), seconds=5, flow_run_id="flow")
    seq = await start(database, own)
    for lease in (own, replace(own, flow_run_id=None)):
        clock.advance(1)
        until = f"2026-01-01T00:00:0{clock.now.second + 5}.000Z"
        seq = await database.journal.record_report(lease, seq, "a", 50, "half")
        (run,) = await rows(database, runs)
        assert (run.claimableAt, run.flowRunId, run.seq) == (until, "flow", seq)
        clock.advance(1)
        until = f"2026-01-01T00:00:0{clock.now.second + 5}.000Z"
        await database.journal.expire(lease, [])
        (run,) = await rows(database, runs)
        assert (run.claimableAt, run.flowRunId, run.seq) == (until, "flow", seq)


async def test_a_retry_replaces_the_progress_of_its_node(database: Database) -> None:
    lease = await begin(database)
    seq = await start(database, lease, BEGUN, A, B)
    for node_id in ("a", "b"):
        seq = await database.journal.record_report(lease, seq, node_id, 50, "half")
    seq = await database.journal.record_retry(lease, seq, "a", RetryLater(3, 2, "broke"))
    progress = ("nodePercentage", "nodeMessage", "attempt", "failedAttempts", "lastError", "seq")
    assert await columns(database, "a", *progress) == (None, None, 3, 2, "broke", seq)
    assert await columns(database, "b", *progress) == (50, "half", 1, None, None, seq - 1)
    last = (await rows(database, events))[-1]
    assert (last.seq, last.nodeId, last.attempt, last.at) == (seq, "a", 3, START)
