"""Events from outside in the database: which waits an event ends, and which events are kept."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from database import Database
from database.executions.inputs import IdempotencyKey
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.external_events import store
from database.external_events.records import EventReceipt
from database.tables import CLAIMABLE_NOW, runs
from database.waiting_tables import event_waits, external_events
from engine.document import Node
from engine.errors import IdempotencyKeyReusedError
from engine.event_waits import AwaitedEvent
from engine.request_errors import TooManyKeptEventsError
from engine.status import NodeStatus
from tests.database.test_external_events import (
    BEGINS,
    DAY,
    accept,
    event,
    received,
    started,
    valid,
    wait,
    waiting,
)
from tests.support.call_trees import rows, write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import Workers

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


async def claimable(database: Database) -> dict[str, str | None]:
    return {row.executionId: row.claimableAt for row in await rows(database, runs)}


async def test_an_event_ends_the_waits_for_its_name_key_and_organization_only(
    database: Database,
) -> None:
    of_other_name = AwaitedEvent("refunded", "7")
    matching = await waiting(database, "own", organization_id="a")
    others = [
        await waiting(database, "organization", organization_id="b"),
        await waiting(database, "key", "8", organization_id="a"),
        await waiting(database, "name", organization_id="a"),
    ]
    is_last = event_waits.c.executionId == "name"
    await write(database, update(event_waits).where(is_last).values(name=of_other_name.name))
    receipt = await accept(database, replace(event("x"), organization="a"))
    assert receipt == EventReceipt(
        "x", "delivered", 1, "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
    )
    assert await received(database, matching) == "x"
    assert [await received(database, lease) for lease in others] == [None] * 3
    assert len(await rows(database, event_waits)) == 3
    # Waits that begin later receive the kept events of their own name, key and organization.
    kept = [
        replace(event("other organization"), organization="c", key="9"),
        replace(event("other key"), organization="a", key="10"),
        replace(event("other name"), organization="a", key="9", name="refunded"),
    ]
    for sent in kept:
        assert (await accept(database, sent)).status == "kept"
    late = await waiting(database, "late", "9", organization_id="a")
    assert await received(database, late) is None
    own = replace(event("y"), organization="a", key="9")
    assert (await accept(database, own)).deliveries == 1
    assert await received(database, late) == "y"


async def test_each_node_of_a_step_begins_to_wait_for_its_own_event(database: Database) -> None:
    await accept(database, event("x", "2"))
    lease = await started(database, "e")
    names = ("plain", "first", "second", "third")
    nodes = [NodeStarted(Node(name, "custom", "N", {}), "{}", 1, resumed=False) for name in names]
    record = database.journal.record_step
    seq = await record(lease, BEGUN + 1, BEGINS, None, NodeChanges(started=nodes))
    ended = [NodeEnded("plain", NodeStatus.COMPLETED, 0, "{}")]
    for key, name in enumerate(names[1:], 1):
        awaited = AwaitedEvent("paid", str(key))
        park = '{"park": {"event": {}}}'
        ended.append(NodeEnded(name, NodeStatus.WAITING, 0, "{}", park, event=awaited))
    await record(lease, seq, BEGINS, None, NodeChanges(ended))
    assert set(await database.journal.resumptions(lease)) == {"second"}
    waits = {row.nodeId: row.key for row in await rows(database, event_waits)}
    assert waits == {"first": "1", "third": "3"}


async def test_a_parked_execution_continues_and_a_running_one_keeps_its_lease(
    workers: Workers,
) -> None:
    database = workers[0].database
    parked = await waiting(database, "parked")
    await database.journal.park(parked, None)
    other = await waiting(database, "other", "8")
    await database.journal.park(other, None)
    await waiting(database, "running")
    before = await claimable(database)
    assert (await accept(database, event("x"))).deliveries == 2
    after = await claimable(database)
    assert after == {**before, "parked": CLAIMABLE_NOW}
    assert [lease.execution_id for lease in await workers[1].claim()] == ["parked"]


async def test_waits_that_have_ended_receive_nothing(database: Database) -> None:
    resumed = await waiting(database, "resumed")
    assert (await accept(database, event("x"))).deliveries == 1
    # The wait is stored again, as if another transaction had not deleted it yet.
    row = {"executionId": "resumed", "nodeId": "paid", "organization": ""}
    await write(database, event_waits.insert().values(**row, name="paid", key="7"))
    receipt = await accept(database, event("y"))
    assert (receipt.status, receipt.deliveries) == ("kept", 0)
    assert await rows(database, event_waits) == []
    assert await received(database, resumed) == "x"


async def test_an_event_is_kept_until_the_end_of_its_time(
    database: Database, clock: MovingClock
) -> None:
    for name, key in (("x", "1"), ("y", "2")):
        await accept(database, event(name, key))
    clock.advance(DAY - 0.001)
    assert await database.external_events.sweep() == 0
    assert await received(database, await waiting(database, "in time", "1")) == "x"
    await accept(database, event("z", "3"))
    clock.advance(0.001)
    assert await received(database, await waiting(database, "late", "2")) is None
    assert await database.external_events.sweep() == 2
    assert [row.id for row in await rows(database, external_events)] == ["z"]


async def test_a_key_expires_with_its_event_and_belongs_to_an_organization(
    database: Database, clock: MovingClock
) -> None:
    def keyed(name: str, body: str = "body", organization: str = "") -> Any:
        key = IdempotencyKey(organization, "k", body)
        return replace(event(name, idempotency=key), organization=organization)

    await accept(database, keyed("x"))
    clock.advance(DAY - 0.001)
    with pytest.raises(IdempotencyKeyReusedError, match="'k'"):
        await accept(database, keyed("y", "other"))
    assert (await accept(database, keyed("y"))).id == "x"
    assert (await accept(database, keyed("a", organization="a"))).id == "a"
    assert (await accept(database, keyed("a2", organization="a"))).id == "a"
    clock.advance(0.001)
    assert (await accept(database, keyed("z", "other"))).id == "z"
    ids = {row.id for row in await rows(database, external_events)}
    assert ids == {"a", "z"}
    # Events without a key are different ones, and delete nothing.
    clock.advance(DAY)
    for name in "uv":
        assert (await accept(database, event(name))).id == name
    assert len(await rows(database, external_events)) == 4


async def test_kept_events_are_limited_and_half_of_them_for_each_organization(
    database: Database,
) -> None:
    async def keep(name: str, organization: str, most: int) -> str:
        sent = replace(event(name, name), organization=organization)
        return (await accept(database, sent, most)).status

    for number in range(2):
        assert await keep(f"a{number}", "a", 3) == "kept"
    with pytest.raises(TooManyKeptEventsError) as caught:
        await keep("a2", "a", 3)
    assert "2" in str(caught.value)
    assert await keep("none", "", 3) == "kept"
    for organization in ("", "b"):
        with pytest.raises(TooManyKeptEventsError):
            await keep("more", organization, 3)
    assert await keep("b0", "b", 4) == "kept"
    # A delivered event needs no space, and is not one of the kept ones.
    await waiting(database, "e", "delivered")
    assert (await accept(database, event("x", "delivered"), 4)).status == "delivered"
    await waiting(database, "taken", "none")
    assert await keep("again", "", 4) == "kept"


@pytest.mark.parametrize(
    ("waits", "size", "characters", "first"),
    [
        (2, 2, 1_000, ("delivered", 2)),
        (3, 2, 1_000, ("delivering", 2)),
        (2, 9, 2 * len('{"by": "x"}'), ("delivered", 2)),
        (3, 9, 3 * len('{"by": "x"}') - 1, ("delivering", 2)),
        (2, 9, 1, ("delivering", 1)),
    ],
)
async def test_a_batch_has_a_limited_number_of_waits_and_of_characters(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    waits: int,
    size: int,
    characters: int,
    first: tuple[str, int],
) -> None:
    monkeypatch.setattr(store, "MAX_BATCH_SIZE", size)
    monkeypatch.setattr(store, "MAX_BATCH_CHARACTERS", characters)
    leases = [await waiting(database, f"e{number}") for number in range(waits)]
    receipt = await accept(database, event("x"))
    assert (receipt.status, receipt.deliveries) == first
    reached = [await received(database, lease) for lease in leases]
    assert reached == ["x"] * first[1] + [None] * (waits - first[1])
    assert await database.external_events.sweep() == 0
    assert [await received(database, lease) for lease in leases] == ["x"] * waits
    (row,) = await rows(database, external_events)
    assert (row.status, row.deliveries, row.payload) == ("delivered", waits, None)
    assert await valid(database)


async def test_an_event_without_a_payload_reaches_all_waits_of_a_batch(
    database: Database,
) -> None:
    leases = [await waiting(database, f"e{number}") for number in range(2)]
    receipt = await accept(database, replace(event("x"), payload=None))
    assert (receipt.status, receipt.deliveries) == ("delivered", 2)
    found = await database.journal.resumptions(leases[0])
    assert found["paid"].data is None


async def test_an_event_that_is_being_delivered_is_not_deleted(
    database: Database, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_BATCH_SIZE", 1)
    leases = [await waiting(database, f"e{number}") for number in range(2)]
    await waiting(database, "other", "8")
    await accept(database, event("x"))
    # An event with another key, or of another organization, does not wait for this delivery.
    assert (await accept(database, event("y", "8"))).deliveries == 1
    await accept(database, replace(event("z"), organization="a"))
    clock.advance(DAY)
    monkeypatch.setattr(store, "PRUNED_PER_SWEEP", 2)
    remaining = await database.external_events.sweep()
    assert remaining == 2
    assert [await received(database, lease) for lease in leases] == ["x"] * 2
    assert await database.external_events.sweep() == 1
    assert await rows(database, external_events) == []


async def test_the_oldest_kept_event_is_delivered_first(database: Database) -> None:
    for name in "xy":
        await accept(database, event(name))
    lease = await waiting(database, "e")
    assert await received(database, lease) == "x"
    kept = select(external_events).where(external_events.c.status == "kept").subquery()
    assert [row.id for row in await rows(database, kept)] == ["y"]
    # A repeated write of the wait, whose node has been resumed, takes no further event.
    await wait(database, lease)
    assert [row.id for row in await rows(database, kept)] == ["y"]
