"""Commit signals: each operation signals the changes for which other parts wait, and no others."""

from collections.abc import Awaitable, Callable, Set
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, update

from database import Database
from database.connection.commit_signal import Change
from database.executions.dispatches import Dispatch
from database.executions.journal_records import NodeChanges
from database.records import Lease
from database.tables import executions
from engine.parking import Resumption
from tests.database.test_external_events import accept, event, waiting
from tests.support.call_trees import BEGINS, DONE, LEASE, calls, write
from tests.support.fake_clock import MovingClock
from tests.support.two_workers import DatabaseWorker, Workers

EVENTS, QUEUE, REQUESTS = Change.EVENTS, Change.QUEUE, Change.REQUESTS
SLOTS, PERMITS, DISPATCHES = Change.SLOTS, Change.PERMITS, Change.DISPATCHES
GPU = {"key:gpu": 1}
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
DUE = datetime(2026, 1, 2, tzinfo=UTC)


class Scene:
    """An execution whose node waits: running at the first worker, or parked."""

    def __init__(self, workers: Workers, clock: MovingClock, lease: Lease, seq: int) -> None:
        self.first, self.second = workers
        self.database: Database = self.first.database
        self.clock = clock
        self.lease = lease
        self.seq = seq


async def submit(scene: Scene) -> None:
    await scene.second.submit("new")


async def record(scene: Scene) -> None:
    await scene.database.journal.record_step(scene.lease, scene.seq, BEGINS, None, NodeChanges())


async def report(scene: Scene) -> None:
    await scene.database.journal.record_report(scene.lease, scene.seq, "ask", 50, None)


async def renew(scene: Scene) -> None:
    await scene.database.queue.renew("first", ["own"], LEASE)


async def park(scene: Scene) -> None:
    await scene.database.journal.park(scene.lease, DUE)


async def release(scene: Scene) -> None:
    await scene.database.queue.release(scene.lease)


async def finish(scene: Scene) -> None:
    await scene.database.journal.finish(scene.lease, scene.seq, DONE)


async def resume(scene: Scene) -> None:
    await scene.database.journal.resume("own", "ask", Resumption())


async def cancel(scene: Scene) -> None:
    await scene.database.queue.request_cancel("own")


async def requeue(scene: Scene) -> None:
    scene.clock.advance(LEASE)
    await scene.second.claim(0)


async def end_elsewhere(scene: Scene) -> None:
    own_row = executions.c.id == "own"
    await write(scene.database, update(executions).where(own_row).values(status="failed"))
    await scene.database.queue.settle_foreign_ends()


RUNNING: list[tuple[Callable[[Scene], Awaitable[None]], Set[Change]]] = [
    (submit, {EVENTS, QUEUE}),
    (record, set()),
    (report, {EVENTS}),
    (renew, set()),
    (park, {EVENTS, QUEUE}),
    (release, {EVENTS, QUEUE}),
    (finish, {EVENTS, SLOTS}),
    (resume, {REQUESTS}),
    (cancel, {SLOTS, REQUESTS}),
    (requeue, {EVENTS, QUEUE}),
]
PARKED: list[tuple[Callable[[Scene], Awaitable[None]], Set[Change]]] = [
    (resume, {QUEUE}),
    (cancel, {EVENTS, SLOTS}),
    (end_elsewhere, {EVENTS, SLOTS}),
]


@pytest.fixture
async def scene(workers: Workers, clock: MovingClock) -> Scene:
    lease = await workers[0].start("own")
    return Scene(workers, clock, lease, await workers[0].ask(lease))


async def signalled(worker: DatabaseWorker, operation: Awaitable[object]) -> set[Change]:
    """Return the changes that the commits of an operation signal at this worker."""
    found: set[Change] = set()
    await sent(worker)
    disconnect = worker.database.commit_signal.connect(found.update)
    try:
        await operation
        await sent(worker)
    finally:
        disconnect()
    return found


async def sent(worker: DatabaseWorker) -> None:
    """Wait for the signals of all commits, because the writer sends one after its result."""
    await worker.database._access.writer.run(lambda _: None)


def of_worker(scene: Scene, operation: Callable[[Scene], Awaitable[None]]) -> DatabaseWorker:
    return scene.second if operation in (submit, requeue) else scene.first


@pytest.mark.parametrize(("operation", "changes"), RUNNING)
async def test_an_operation_on_a_running_execution_signals_its_changes(
    scene: Scene, operation: Callable[[Scene], Awaitable[None]], changes: Set[Change]
) -> None:
    assert await signalled(of_worker(scene, operation), operation(scene)) == changes


@pytest.mark.parametrize(("operation", "changes"), PARKED)
async def test_an_operation_on_a_parked_execution_signals_its_changes(
    scene: Scene, operation: Callable[[Scene], Awaitable[None]], changes: Set[Change]
) -> None:
    await park(scene)
    assert await signalled(scene.first, operation(scene)) == changes


async def test_the_end_of_a_call_signals_whether_its_parent_runs(workers: Workers) -> None:
    first, second = workers
    for name, is_parked in (("running", False), ("parked", True)):
        parent = await first.start(name)
        await calls(first.database, parent, f"of {name}")
        child = await second.claim_one()
        if is_parked:
            await first.database.journal.park(parent, None)
        ended = second.database.journal.finish(child, 2, DONE)
        expected = {EVENTS, SLOTS, QUEUE if is_parked else REQUESTS}
        assert await signalled(second, ended) == expected


async def test_an_owned_child_of_an_ended_execution_is_a_request(workers: Workers) -> None:
    first, second = workers
    parent = await first.start("parent")
    seq = await calls(first.database, parent, "child")
    await second.claim_one()
    ended = first.database.journal.finish(parent, seq, DONE)
    assert await signalled(first, ended) == {EVENTS, SLOTS, REQUESTS}


async def test_an_event_from_outside_signals_the_executions_that_it_resumes(
    workers: Workers,
) -> None:
    first, _ = workers
    assert await signalled(first, accept(first.database, event("kept"))) == set()
    # A node that begins to wait for a kept event is resumed at once, while its execution runs.
    changes = await signalled(first, waiting(first.database, "e"))
    assert changes == {EVENTS, QUEUE, REQUESTS}
    await waiting(first.database, "other")
    received = await signalled(first, accept(first.database, event("x")))
    assert received == {QUEUE, REQUESTS}


async def test_a_returned_permit_is_signalled(workers: Workers, clock: MovingClock) -> None:
    first, second = workers
    store = first.database.permits
    lease = await first.start("own")
    assert await signalled(first, store.request(lease, "a", "n", GPU)) == set()
    assert await signalled(first, store.release("a")) == {PERMITS}
    assert await signalled(first, store.release("a")) == set()
    await store.request(lease, "b", "n", GPU)
    clock.advance(LEASE)
    expired = await signalled(second, second.claim(0))
    assert expired == {EVENTS, QUEUE, PERMITS}
    lease = await first.claim_one()
    await store.request(lease, "c", "n", GPU)
    await write(first.database, delete(executions))
    assert await signalled(first, store.delete_orphaned(LEASE)) == set()
    clock.advance(LEASE)
    assert await signalled(first, store.delete_orphaned(LEASE)) == {PERMITS}
    assert await signalled(first, store.delete_orphaned(LEASE)) == set()


async def test_a_confirmed_dispatch_is_signalled(workers: Workers) -> None:
    first, _ = workers
    await first.submit("e")
    store = first.database.dispatches
    assert await signalled(first, store.reserve(9, 9)) == set()
    confirmed = store.confirm(Dispatch("e", 1), "flow-run")
    assert await signalled(first, confirmed) == {DISPATCHES}
