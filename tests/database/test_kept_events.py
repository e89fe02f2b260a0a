"""Kept events in the database: pages of them, and their deletion."""

import pytest

from database import Database
from database.executions.inputs import IdempotencyKey
from database.external_events.records import KeptEvent, NewEvent
from engine.request_errors import KeptEventNotFoundError
from tests.database.test_external_events import DAY, accept, event, received, started, wait, waiting
from tests.support.fake_clock import MovingClock
from tests.support.two_workers import Workers, both


async def listed(database: Database, organization_id: str | None = None) -> list[str]:
    page = await database.kept_events.page(organization_id, 100)
    assert page.end is None
    return [kept.id for kept in page.items]


async def keep(database: Database, name: str, organization: str = "") -> None:
    await accept(database, NewEvent(name, organization, "paid", f"of {name}", None))


async def test_pages_contain_the_kept_events_of_the_organization_newest_first(
    database: Database,
) -> None:
    for number in range(5):
        await keep(database, f"x{number}", "AB"[number % 2])
    await keep(database, "x5")
    assert await listed(database) == ["x5", "x4", "x3", "x2", "x1", "x0"]
    assert await listed(database, "A") == ["x4", "x2", "x0"]
    assert await listed(database, "C") == []
    first = await database.kept_events.page(None, 4)
    assert [kept.id for kept in first.items] == ["x5", "x4", "x3", "x2"]
    await keep(database, "x6")  # it moves no event to another page
    second = await database.kept_events.page(None, 4, first.end)
    assert ([kept.id for kept in second.items], second.end) == (["x1", "x0"], None)


async def test_a_kept_event_has_the_times_and_no_payload(database: Database) -> None:
    receipt = await accept(database, event("x"))
    assert (await database.kept_events.page(None, 1)).items == [
        KeptEvent("x", None, "paid", "7", receipt.created_at, receipt.expires_at)
    ]


async def test_a_received_or_expired_event_is_not_listed(
    database: Database, clock: MovingClock
) -> None:
    await waiting(database, "e")
    await accept(database, event("delivered"))
    await accept(database, event("taken", "8"))
    await accept(database, event("kept", "9"))
    await waiting(database, "other", "8")
    assert await listed(database) == ["kept"]
    clock.advance(DAY)
    assert await listed(database) == []
    with pytest.raises(KeptEventNotFoundError):
        await database.kept_events.delete("kept", None)


async def test_a_deleted_event_is_received_by_no_node_and_frees_its_idempotency_key(
    database: Database,
) -> None:
    key = IdempotencyKey("", "k", "body")
    await accept(database, event("x", idempotency=key))
    await accept(database, event("y"))
    await database.kept_events.delete("x", None)
    assert await listed(database) == ["y"]
    assert await received(database, await waiting(database, "e")) == "y"
    assert (await accept(database, event("z", idempotency=key))).id == "z"
    for gone in ("x", "y", "unknown", "x\0"):
        with pytest.raises(KeptEventNotFoundError):
            await database.kept_events.delete(gone, None)


async def test_only_the_organization_of_an_event_deletes_it(database: Database) -> None:
    await keep(database, "x", "A")
    with pytest.raises(KeptEventNotFoundError):
        await database.kept_events.delete("x", "B")
    assert await listed(database) == ["x"]
    await database.kept_events.delete("x", "A")
    assert await listed(database) == []


async def test_an_event_is_either_deleted_or_received(workers: Workers) -> None:
    first, second = workers
    leases = {}
    for number in range(10):
        await accept(first.database, event(f"x{number}", str(number)))
        leases[number] = await started(first.database, f"e{number}")

    async def is_deleted(number: int) -> bool:
        try:
            await second.database.kept_events.delete(f"x{number}", None)
        except KeptEventNotFoundError:
            return False
        return True

    for number, lease in leases.items():
        _, deleted = await both(wait(first.database, lease, str(number)), is_deleted(number))
        found = await received(first.database, lease)
        assert found == (None if deleted else f"x{number}")
