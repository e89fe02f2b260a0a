"""Changes of one wait leave all other waits as they are, in its own execution and in others.

The rows of the other waits contain the word ``other``, and those of the same execution ``kept``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Row, select, update

from database import Database
from database.executions.human_tasks import Answer, task_id_of
from database.executions.inputs import Child, IdempotencyKey
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeStarted,
)
from database.external_events.records import NewEvent
from database.maintenance.retention import delete_executions
from database.records import Lease
from database.tables import metadata
from database.waiting_tables import human_tasks
from engine.document import Node
from engine.event_waits import AwaitedEvent
from engine.human_tasks import Escalation, Reminders, TaskRequest
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import ExecutionStatus, NodeStatus
from tests.support.call_trees import CANCELLED, DONE, LEASE, submission, write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

KINDS = ("task", "event", "call", "permit")
BEGINS = Progress(9, 0, 0, 0)
START = "2026-01-01T00:00:00.000Z"
LATER = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86_400


@dataclass(frozen=True)
class Scene:
    """Two executions, of which each waits with two nodes of each kind."""

    database: Database
    clock: MovingClock
    lease: Lease
    seq: int
    """Sequence number of the execution ``own``."""


def wait_of(execution_id: str, kind: str, prefix: str) -> NodeEnded:
    """Return the parking of a node; ``prefix`` is empty or ``kept-``."""
    name = f"{prefix}{execution_id}"
    waits: dict[str, Any] = {}
    if kind == "task":
        escalation = Escalation(100, (f"{name}-boss",))
        people = (f"{name}-ann", f"{name}-bob")
        task = TaskRequest(f"{name}?", None, people, 1, Reminders(50, 2), escalation)
        waits = {"task": task, "wait_until": "2026-06-01T00:00:00.000Z"}
    elif kind == "event":
        waits = {"event": AwaitedEvent("paid", f"{name}-key")}
    elif kind == "call":
        waits = {"child": Child(submission(f"{name}-child"), 1, execution_id)}
    detail = None if kind == "permit" else '{"park": {}}'
    return NodeEnded(
        f"{prefix}{kind}", NodeStatus.WAITING, 1, "null", detail, waiting_since=START, **waits
    )


async def begin(database: Database, execution_id: str) -> Lease:
    """Submit an execution and claim it."""
    organization = f"{execution_id}-org"
    new = submission(
        execution_id,
        organization_id=organization,
        callback_url=f"http://{execution_id}.example/",
        request="{}",
        idempotency=IdempotencyKey(organization, f"{execution_id}-key", "hash"),
    )
    await database.submissions.submit(new)
    (run,) = await database.queue.claim(f"{execution_id}-owner", 1, LEASE)
    return run.lease


async def wait(database: Database, lease: Lease) -> int:
    """Let an execution wait with two nodes of each kind, without parking it."""
    execution_id = lease.execution_id
    ended = [wait_of(execution_id, kind, prefix) for prefix in ("", "kept-") for kind in KINDS]
    started = [
        NodeStarted(Node(node.node_id, "custom", "N", {}), f'"{execution_id}"', 1, resumed=False)
        for node in ended
    ]
    record = database.journal.record_step
    seq = await record(lease, BEGUN, BEGINS, None, NodeChanges(started=started))
    for prefix in ("", "kept-"):
        limit = {f"{prefix}{execution_id}-limit": 1}
        for request, node in (("holds", "held"), ("waits", f"{prefix}permit")):
            name = f"{prefix}{execution_id}-{request}"
            await database.permits.request(lease, name, node, limit)
    return await record(lease, seq, BEGINS, None, NodeChanges(ended=ended))


@pytest.fixture
async def scene(database: Database, clock: MovingClock) -> Scene:
    other, own = await begin(database, "other"), await begin(database, "own")
    await wait(database, other)
    return Scene(database, clock, own, await wait(database, own))


async def state(database: Database, words: tuple[str, ...]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of all tables that contain one of the words."""
    task_ids = {
        task_id_of(execution_id, f"{prefix}task"): f"{prefix}{execution_id}"
        for execution_id in ("own", "other")
        for prefix in ("", "kept-")
    }

    def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table)) if is_wanted(row)]
            for table in metadata.sorted_tables
        }

    def is_wanted(row: Row[Any]) -> bool:
        names = [task_ids.get(value, "") for value in row if isinstance(value, str)]
        return any(word in repr((names, tuple(row))) for word in words)

    return await database._access.reader.run(read)


async def resume_task(scene: Scene) -> None:
    await scene.database.journal.resume("own", "task", Resumption())


async def answer(scene: Scene) -> None:
    task_id = task_id_of("own", "task")
    await scene.database.human_tasks.complete(task_id, Answer(True, {"n": 1}, "own-ann"))


async def expire(scene: Scene) -> None:
    await scene.database.journal.expire(scene.lease, ["task"])


async def resume_event(scene: Scene) -> None:
    await scene.database.journal.resume("own", "event", Resumption(data={"n": 1}))


async def receive(scene: Scene) -> None:
    sent = NewEvent("x", "own-org", "paid", "own-key", '{"n": 1}', None)
    await scene.database.external_events.accept(sent, DAY, 9)


async def end_nodes(scene: Scene) -> None:
    ended = [
        NodeEnded(kind, NodeStatus.CANCELLED, 1, error="stopped", waited_ms=1) for kind in KINDS
    ]
    record = scene.database.journal.record_step
    await record(scene.lease, scene.seq, BEGINS, None, NodeChanges(ended=ended))


async def abandon_child(scene: Scene) -> None:
    node = NodeEnded("call", NodeStatus.ERROR, 1, error="late", abandoned_child="own-child")
    record = scene.database.journal.record_step
    await record(scene.lease, scene.seq, BEGINS, None, NodeChanges(ended=[node]))


async def cancel_child(scene: Scene) -> None:
    await scene.database.queue.request_cancel("own-child")


async def return_permit(scene: Scene) -> None:
    await scene.database.permits.release("own-holds")
    assert await scene.database.permits.grant(["own-waits"]) == {"own-waits"}


async def park(scene: Scene) -> None:
    await scene.database.journal.park(scene.lease, LATER, ["permit"])


async def finish(scene: Scene) -> None:
    await scene.database.journal.finish(scene.lease, scene.seq, DONE)


async def finish_cancelled(scene: Scene) -> None:
    ended = [NodeEnded("task", NodeStatus.CANCELLED, 1, waited_ms=1)]
    changes = NodeChanges(ended=ended)
    await scene.database.journal.finish(scene.lease, scene.seq, CANCELLED, changes)


async def fail(scene: Scene) -> None:
    ending = ExecutionResult(ExecutionStatus.FAILED, BEGINS, "broke", "{}")
    await scene.database.journal.finish(scene.lease, scene.seq, ending)


async def abandon(scene: Scene) -> None:
    await scene.database.journal.abandon(scene.lease, "broke")


async def cancel_parked(scene: Scene) -> None:
    await scene.database.journal.park(scene.lease, None)
    await scene.database.queue.request_cancel("own")


async def release(scene: Scene) -> None:
    await scene.database.queue.release(scene.lease, 5)


async def lose_lease(scene: Scene) -> None:
    await scene.database.queue.expire(["own-owner"])
    await scene.database.queue.claim("new", 0, LEASE)


async def delete(scene: Scene) -> None:
    await scene.database._access.writer.run(
        lambda connection: delete_executions(connection, ["own"])
    )


Change = Callable[[Scene], Awaitable[None]]
OF_NODES: list[Change] = [
    resume_task,
    answer,
    expire,
    resume_event,
    receive,
    end_nodes,
    abandon_child,
    cancel_child,
    return_permit,
]
OF_EXECUTIONS: list[Change] = [
    park,
    finish,
    finish_cancelled,
    fail,
    abandon,
    cancel_parked,
    release,
    lose_lease,
    delete,
]


@pytest.mark.parametrize("change", OF_NODES)
async def test_a_change_of_one_wait_leaves_all_others_as_they_are(
    scene: Scene, change: Change
) -> None:
    words = ("other", "kept")
    before = await state(scene.database, words)
    assert len(before["execution_logs"]) == 12
    assert len(before["orchestrator_tasks"]) == len(before["orchestrator_event_waits"]) == 3
    every = await state(scene.database, ("",))
    scene.clock.advance(1)
    await change(scene)
    assert await state(scene.database, words) == before
    assert await state(scene.database, ("",)) != every


@pytest.mark.parametrize("change", OF_EXECUTIONS)
async def test_a_change_of_an_execution_leaves_the_waits_of_others_as_they_are(
    scene: Scene, change: Change
) -> None:
    before = await state(scene.database, ("other",))
    every = await state(scene.database, ("",))
    scene.clock.advance(1)
    await change(scene)
    assert await state(scene.database, ("other",)) == before
    assert await state(scene.database, ("",)) != every


async def test_the_end_of_a_child_resumes_its_own_node_only(scene: Scene) -> None:
    claimed = await scene.database.queue.claim("own-child-owner", 9, LEASE)
    leases = {run.lease.execution_id: run.lease for run in claimed}
    before = await state(scene.database, ("other", "kept"))
    await scene.database.journal.finish(leases["own-child"], BEGUN, DONE)
    assert await state(scene.database, ("other", "kept")) == before
    assert set(await scene.database.journal.resumptions(scene.lease)) == {"call"}


async def test_a_reminder_changes_its_own_task_only(scene: Scene) -> None:
    others = human_tasks.c.id != task_id_of("own", "task")
    await write(scene.database, update(human_tasks).where(others).values(dueAt=None))
    before = await state(scene.database, ("other", "kept"))
    scene.clock.advance(200)
    assert await scene.database.task_timers.run_due() == 1
    assert await state(scene.database, ("other", "kept")) == before


async def test_a_resumption_of_another_execution_does_not_resume_a_parked_one(
    scene: Scene,
) -> None:
    await scene.database.journal.resume("other", "event", Resumption())
    await park(scene)
    before = await state(scene.database, ("own",))
    assert [row for row in before["orchestrator_runs"] if "2026-06-01T00:00:00.000Z" in row]
    claimed = await scene.database.queue.claim("new", 9, LEASE)
    assert "own" not in {run.lease.execution_id for run in claimed}
