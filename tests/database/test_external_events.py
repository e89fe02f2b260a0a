"""Events from outside in the database: batches, races, crashes, expiry, and the cost of each."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from database import Database
from database.executions.inputs import IdempotencyKey
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.external_events import store
from database.external_events.records import EventReceipt, NewEvent
from database.records import Lease
from engine.document import Node
from engine.errors import NotWaitingError
from engine.event_waits import AwaitedEvent
from engine.outcome import Progress
from engine.parking import Resumption
from engine.request_errors import TooManyKeptEventsError
from engine.status import NodeStatus
from tests.database.test_flat_cost import opened
from tests.support.call_trees import LEASE, submission
from tests.support.database_work import counted_work, growth
from tests.support.ended_executions import insert_rows
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import Workers, both

DAY = 86_400
PAID = Node("paid", "waitForEvent", "Paid", {})
BEGINS = Progress(1, 0, 0, 0)


async def started(database: Database, execution_id: str, **values: Any) -> Lease:
    await database.submissions.submit(submission(execution_id, **values))
    (run,) = await database.queue.claim("me", 1, LEASE)
    begins = NodeChanges(started=[NodeStarted(PAID, "{}", 1, resumed=False)])
    await database.journal.record_step(run.lease, BEGUN, BEGINS, "paid", begins)
    return run.lease


async def wait(database: Database, lease: Lease, key: str = "7") -> None:
    """Park the node of a started execution until the event."""
    waits = NodeEnded(
        "paid",
        NodeStatus.WAITING,
        0,
        "{}",
        '{"park": {"event": {}}}',
        wait_until="2026-06-01T00:00:00.000Z",
        waiting_since="2026-01-01T00:00:00.000Z",
        event=AwaitedEvent("paid", key),
    )
    await database.journal.record_step(lease, BEGUN + 1, BEGINS, "paid", NodeChanges([waits]))


async def waiting(database: Database, execution_id: str, key: str = "7", **values: Any) -> Lease:
    lease = await started(database, execution_id, **values)
    await wait(database, lease, key)
    return lease


def event(name: str, key: str = "7", idempotency: IdempotencyKey | None = None) -> NewEvent:
    return NewEvent(name, "", "paid", key, '{"by": "' + name + '"}', idempotency)


async def accept(database: Database, sent: NewEvent, most: int = 100) -> EventReceipt:
    return await database.external_events.accept(sent, DAY, most)


async def received(database: Database, lease: Lease) -> str | None:
    """Return the id of the event that resumed the node; ``None`` if none did."""
    found = (await database.journal.resumptions(lease)).get("paid")
    return None if found is None or found.event is None else found.event.id


async def valid(database: Database) -> bool:
    return await database.find_violations(service_runs=False) == []


async def test_an_interrupted_delivery_continues_and_does_not_reach_later_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_BATCH_SIZE", 2)
    first = [await waiting(database, f"e{number}") for number in range(5)]
    receipt = await accept(database, event("x"))  # the service ends here
    assert (receipt.status, receipt.deliveries) == ("delivering", 2)
    assert (await accept(database, event("y"))).status == "kept"
    later = await waiting(database, "later")
    assert await received(database, later) == "y"
    last = await waiting(database, "last")
    await database.external_events.sweep()
    assert [await received(database, lease) for lease in first] == ["x"] * 5
    assert await received(database, last) is None
    again = await database.external_events.deliver("x")
    assert (again.status, again.deliveries) == ("delivered", 5)
    assert await valid(database)


async def test_events_and_waits_that_meet_at_the_same_time_do_not_miss_each_other(
    workers: Workers,
) -> None:
    first, second = workers
    leases = [await started(first.database, f"e{number}") for number in range(12)]
    operations: list[Any] = []
    for number, lease in enumerate(leases):
        operations.append(wait(first.database, lease, str(number % 3)))
        operations.append(accept(second.database, event(f"x{number}", str(number % 3))))
    await both(*operations)
    for key in "012":  # each remaining wait gets an event
        await accept(first.database, event(f"last {key}", key))
    ids = [await received(first.database, lease) for lease in leases]
    assert None not in ids
    assert await valid(first.database)


async def test_a_repeated_write_takes_one_kept_event(database: Database) -> None:
    for name in "xy":
        await accept(database, event(name))
    lease = await waiting(database, "e")
    await wait(database, lease)  # the commit was not confirmed
    assert await received(database, lease) == "x"
    other = await waiting(database, "other")
    assert await received(database, other) == "y"
    assert await valid(database)


async def test_the_first_of_an_event_a_resumption_and_the_time_limit_decides(
    database: Database,
) -> None:
    by_event = await waiting(database, "event")
    assert (await accept(database, event("x"))).deliveries == 1
    found = await database.journal.expire(by_event, ["paid"])
    assert found["paid"].event is not None
    with pytest.raises(NotWaitingError, match="already resumed"):
        await database.journal.resume("event", "paid", Resumption())
    by_time = await waiting(database, "time")
    assert (await database.journal.expire(by_time, ["paid"]))["paid"].expired
    assert (await accept(database, event("y"))).status == "kept"
    with pytest.raises(NotWaitingError, match="already resumed"):
        await database.journal.resume("time", "paid", Resumption())
    by_hand = await waiting(database, "hand", "8")
    await database.journal.resume("hand", "paid", Resumption())
    assert (await accept(database, event("z", "8"))).status == "kept"
    assert await database.journal.expire(by_hand, ["paid"]) == {"paid": Resumption()}
    assert await valid(database)


async def test_a_kept_event_and_its_idempotency_key_expire(
    database: Database, clock: MovingClock
) -> None:
    key = IdempotencyKey("", "k", "body")
    await accept(database, event("x", idempotency=key))
    assert (await accept(database, event("y", idempotency=key))).id == "x"
    clock.advance(DAY + 1)
    assert await received(database, await waiting(database, "e")) is None
    assert await database.external_events.sweep() == 1
    assert await database.external_events.sweep() == 0
    assert (await accept(database, event("z", idempotency=key))).deliveries == 1
    assert await valid(database)


async def test_the_end_or_the_deletion_of_an_execution_ends_its_wait(
    database: Database, clock: MovingClock
) -> None:
    await waiting(database, "cancelled")
    lease = await waiting(database, "failed")
    await database.queue.request_cancel("cancelled")
    await database.journal.abandon(lease, "it crashed")
    await database.journal.abandon(Lease("cancelled", "me", LEASE), "it crashed")
    assert (await accept(database, event("x"))).status == "kept"
    clock.advance(2 * DAY)
    assert await database.retention.delete_expired(1, None) == 2
    assert await valid(database)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_events_cost_the_same_among_many(kind: str, tmp_path: Path) -> None:
    few = await measured(kind, tmp_path / "few.sqlite", 600)
    many = await measured(kind, tmp_path / "many.sqlite", 6_000)
    assert growth(few, many) == {}


async def measured(kind: str, path: Path, count: int) -> dict[str, int]:
    """Return the work of each operation in a database with ``count`` waits and kept events."""
    async with opened(kind, path) as database:
        lease = await waiting(database, "e", "own")
        await insert_rows(database, rows_of(count))
        found: dict[str, int] = {}
        operations: dict[str, Any] = {
            "deliver": lambda: accept(database, event("x", "own"), count * 2),
            "refuse": lambda: refused(database, event("y", "own")),
            "nothing to sweep": database.external_events.sweep,
            "list": lambda: database.kept_events.page(None, 50),
            "list of an organization": lambda: database.kept_events.page("o", 5),
            "end": lambda: database.journal.expire(lease, ["paid"]),
        }
        for name, operation in operations.items():
            with counted_work() as work:
                await operation()
            found[name] = work.amount
        return found


async def refused(database: Database, sent: NewEvent) -> None:
    """Send an event for which no space is left; the limit bounds the events that are counted."""
    with pytest.raises(TooManyKeptEventsError):
        await accept(database, sent, 500)


def rows_of(count: int) -> dict[Any, list[dict[str, Any]]]:
    waits = [
        {
            "executionId": "e",
            "nodeId": f"n{number}",
            "organization": "",
            "name": "paid",
            "key": f"{number}",
        }
        for number in range(count)
    ]
    kept = [
        {
            **{name: row[name] for name in ("organization", "name")},
            "id": f"k{number}",
            "key": f"kept {number}",
            "status": "kept",
            "deliveries": 0,
            "createdAt": "2026-01-01",
            "expiresAt": "2100-01-01",
        }
        for number, row in enumerate(waits)
    ]
    # The events of an organization are spread over all; the newest events were delivered.
    kept = [{**row, "organization": "o" if n % 100 == 0 else ""} for n, row in enumerate(kept)]
    delivered = [{**row, "id": f"d{row['id']}", "status": "delivered"} for row in kept]
    return {store.event_waits: waits, store.external_events: [*kept, *delivered]}


async def test_many_requests_with_one_key_store_one_event(workers: Workers) -> None:
    first, second = workers
    key = IdempotencyKey("", "k", "body")
    receipts = await asyncio.gather(
        *(
            accept((first, second)[n % 2].database, event(f"x{n}", idempotency=key))
            for n in range(10)
        )
    )
    assert len({receipt.id for receipt in receipts}) == 1
