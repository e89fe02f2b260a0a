"""Schedule store: pages of schedules, and changes of an unchanged schedule only."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, update

from database import Database
from database.queries.results import ScheduleCursor
from database.schedules.records import Firing, NextInstant, Schedule
from database.tables import schedules, workflows
from engine.request_errors import ScheduleNotFoundError
from tests.support.call_trees import rows, write
from tests.support.fake_clock import MovingClock
from tests.support.schedules import NO_LIMITS, read

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

AT = "2026-01-01T00:00:00.000Z"
SOON, LATER = "2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z"


async def store(database: Database, schedule_id: str, **values: Any) -> Schedule:
    """Store a schedule, and return it."""
    row = {"id": schedule_id, "workflowId": "w", "nodeId": schedule_id, "settings": "{}"}
    row |= {"nextAt": SOON, "dueAt": SOON, "handledAt": AT, "createdAt": AT, **values}
    await write(database, insert(schedules).values(row))
    return await read(database, schedule_id)


async def times(database: Database, schedule_id: str = "s") -> tuple[str | None, ...]:
    found = await read(database, schedule_id)
    return found.next_at, found.due_at, found.paused_at, found.blocked_by, found.handled_at


async def test_an_unchanged_schedule_is_paused_and_resumed(
    database: Database, clock: MovingClock
) -> None:
    await store(database, "other")
    await store(database, "s", blockedBy="e", dueAt=None)
    following = NextInstant(LATER, LATER)
    others = await times(database, "other")
    clock.advance(1)
    at = "2026-01-01T00:00:01.000Z"
    set_next = database.schedules.set_next
    assert await set_next(await read(database, "s"), following)
    assert await times(database) == (LATER, LATER, None, None, at)
    assert await set_next(await read(database, "s"), following, paused=True)
    assert await times(database) == (LATER, None, at, None, at)
    clock.advance(1)
    assert await set_next(await read(database, "s"), NextInstant(SOON, SOON))
    assert await times(database) == (SOON, None, at, None, "2026-01-01T00:00:02.000Z")
    assert await set_next(await read(database, "s"), following, paused=True)
    assert await times(database) == (LATER, None, at, None, "2026-01-01T00:00:02.000Z")
    assert await set_next(await read(database, "s"), following, paused=False)
    assert await times(database) == (LATER, LATER, None, None, "2026-01-01T00:00:02.000Z")
    assert await times(database, "other") == others


@pytest.mark.parametrize(
    "change",
    [
        {"handledAt": LATER},
        {"settings": '{"new": 1}'},
        {"settings": None},
        {"nextAt": LATER},
        {"nextAt": None},
        {"pausedAt": AT},
    ],
    ids=str,
)
async def test_a_changed_schedule_stays_as_it_is(
    database: Database, change: dict[str, str | None]
) -> None:
    await store(database, "other")
    before = await store(database, "s")
    await write(database, update(schedules).where(schedules.c.id == "s").values(change))
    stored = await rows(database, schedules)
    following = NextInstant(LATER, LATER)
    assert not await database.schedules.set_next(before, following, paused=False)
    assert not await database.schedules.set_next(replace(before, id="unknown"), following)
    firing = Firing(before, "skip", (), following, (SOON, "invalid"))
    assert await database.firings.fire(firing, NO_LIMITS) is None
    gone = replace(firing, schedule=replace(before, id="unknown"))
    assert await database.firings.fire(gone, NO_LIMITS) is None
    assert await rows(database, schedules) == stored


async def test_pages_contain_the_schedules_of_an_organization_or_a_workflow(
    database: Database,
) -> None:
    for name, organization in (("v", "a"), ("u", "b")):
        row = {"id": name, "name": name, "data": "{}", "organizationId": organization}
        await write(database, insert(workflows).values(row))
    for workflow, node in (("v", "2"), ("w", "1"), ("v", "1"), ("u", "3"), ("w", "0")):
        await store(database, f"{workflow}{node}", workflowId=workflow, nodeId=node)

    async def page(*conditions: Any) -> tuple[list[str], ScheduleCursor | None]:
        found = await database.schedules.page(*conditions)
        return [each.id for each in found.items], found.end

    every = ["u3", "v1", "v2", "w0", "w1"]
    assert await page(None, None, 5) == (every, None)
    assert await page(None, None, 9) == (every, None)
    assert await page("a", None, 9) == (["v1", "v2"], None)
    assert await page(None, "w", 9) == (["w0", "w1"], None)
    assert await page("b", "w", 9) == ([], None)
    for limit in (1, 2, 3, 4):
        listed: list[str] = []
        end: ScheduleCursor | None = None
        while True:
            some, end = await page(None, None, limit, end)
            assert len(some) <= limit
            listed += some
            if end is None:
                break
        assert listed == every


async def test_a_schedule_is_read_with_its_workflow(database: Database) -> None:
    await store(database, "other")
    await store(database, "s")
    schedule, workflow = await database.schedules.read("s")
    assert (schedule.id, workflow.id, workflow.data) == ("s", "w", "{}")
    for unknown in ("unknown", "s\0"):
        with pytest.raises(ScheduleNotFoundError):
            await database.schedules.read(unknown)


async def test_a_firing_changes_its_schedule_only(database: Database, clock: MovingClock) -> None:
    await store(database, "other")
    others = await times(database, "other")
    before = await store(database, "s")
    clock.advance(1)
    firing = Firing(before, "skip", (), NextInstant(LATER, LATER), (SOON, "invalid"))
    fired = await database.firings.fire(firing, NO_LIMITS)
    assert fired is not None
    assert (fired.started, fired.stopped, fired.is_queue_full) == ([], [], False)
    assert await times(database) == (LATER, LATER, None, None, "2026-01-01T00:00:01.000Z")
    after = await read(database, "s")
    assert (after.last_skipped_instant, after.last_skip_reason) == (SOON, "invalid")
    assert (after.last_instant, after.last_execution_id) == (None, None)
    assert await times(database, "other") == others
