"""Schedules: each instant once, overlaps, limits, clocks that are set, and two services."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, text

from database import Database
from database.executions.journal_records import ExecutionResult
from database.schedules.records import PendingLimits
from database.tables import workflows
from engine.outcome import Progress
from engine.status import ExecutionStatus
from flows.schedules.documents import ScheduledDocuments, schedule_id_of
from flows.schedules.scheduler import Scheduler
from flows.schedules.service import ScheduleService
from tests.support.call_trees import CANCELLED, LEASE
from tests.support.documents import document, node
from tests.support.fake_clock import MovingClock
from tests.support.schedules import (
    NO_LIMITS,
    instants_of,
    read,
    runs_of,
    save,
    scheduled,
    scheduler_of,
    status_of,
)
from tests.support.two_workers import Workers, both

EVERY_MINUTE: dict[str, Any] = {"scheduleEverySeconds": 60}
DONE = ExecutionResult(ExecutionStatus.COMPLETED, Progress(2, 2, 0, 0), None, "{}", "{}")


@pytest.fixture
def scheduler(database: Database) -> Scheduler:
    return scheduler_of(database)


async def fire_all(*schedulers: Scheduler) -> None:
    for one in schedulers:
        while await one.fire_due():
            pass


async def end_all(database: Database) -> None:
    """Run the claimable executions to their end."""
    for claimed in await database.queue.claim("me", 100, LEASE):
        await database.journal.finish(claimed.lease, 2, DONE)


async def test_an_instant_starts_one_execution_of_two_services(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = (scheduler_of(worker.database) for worker in workers)
    schedule_id = await save(workers[0].database, "s", scheduled(**EVERY_MINUTE))
    await both(first.search(), second.search())
    for _ in range(5):
        clock.advance(60)
        await both(first.fire_due(), second.fire_due())
        await end_all(workers[0].database)
    found = await runs_of(workers[1].database, schedule_id)
    assert [instant[14:16] for instant, _ in found] == ["01", "02", "03", "04", "05"]
    rows = await workers[0].database._access.reader.run(
        lambda c: c.execute(text('SELECT "triggerType", inputs FROM workflow_executions')).all()
    )
    assert len(rows) == 5
    assert {row[0] for row in rows} == {"schedule"}
    payload = json.loads(rows[0][1])["clock"]
    assert payload["scheduleId"] == schedule_id
    assert payload["scheduledAt"] in {instant for instant, _ in found}
    assert await workers[0].database.find_violations(service_runs=True) == []


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", ["01:00"]),
        ("queue", ["01:00"]),
        ("allow", ["01:00", "02:00", "03:00"]),
        ("cancel", ["01:00", "02:00", "03:00"]),
    ],
)
async def test_instants_during_an_execution_follow_the_overlap(
    database: Database,
    clock: MovingClock,
    scheduler: Scheduler,
    overlap: str,
    expected: list[str],
) -> None:
    config = {**EVERY_MINUTE, "scheduleOverlap": overlap}
    schedule_id = await save(database, "s", scheduled(**config))
    await scheduler.search()
    for _ in range(3):
        clock.advance(60)
        await fire_all(scheduler)
    assert await instants_of(database, schedule_id) == expected
    statuses = [await status_of(database, i) for _, i in await runs_of(database, schedule_id)]
    cancelled = [status for status in statuses if status == "cancelled"]
    assert len(cancelled) == (2 if overlap == "cancel" else 0)
    state = await read(database, schedule_id)
    assert state.last_skip_reason == ("overlap" if overlap == "skip" else None)
    assert (state.blocked_by is not None) == (overlap == "queue")
    await end_all(database)
    await fire_all(scheduler)
    if overlap == "queue":  # the next one starts when the one before it has ended
        assert await instants_of(database, schedule_id) == ["01:00", "02:00"]
        await end_all(database)
        await fire_all(scheduler)
        assert await instants_of(database, schedule_id) == ["01:00", "02:00", "03:00"]
        await end_all(database)
        await fire_all(scheduler)
        assert (await read(database, schedule_id)).blocked_by is None
    clock.advance(60)
    await fire_all(scheduler)
    assert (await instants_of(database, schedule_id))[-1] == "04:00"
    assert await database.find_violations(service_runs=True) == []


async def test_a_running_execution_is_cancelled_by_the_next_instant(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    await save(database, "s", scheduled(**EVERY_MINUTE, scheduleOverlap="cancel"))
    await scheduler.search()
    clock.advance(60)
    await fire_all(scheduler)
    (claimed,) = await database.queue.claim("me", 1, 3_600)
    clock.advance(60)
    await fire_all(scheduler)
    assert await database.queue.cancellations("me") == [claimed.lease.execution_id]
    await database.journal.finish(claimed.lease, 2, CANCELLED)
    assert await database.find_violations(service_runs=True) == []


async def test_a_full_queue_delays_an_instant_and_loses_none(
    database: Database, clock: MovingClock
) -> None:
    scheduler = scheduler_of(database, PendingLimits(2, 100))
    ids = [await save(database, f"s{n}", scheduled(**EVERY_MINUTE)) for n in range(5)]
    await scheduler.search()
    clock.advance(60)
    await fire_all(scheduler)
    assert len(await runs_of(database)) == 2
    clock.advance(6)
    await end_all(database)
    await fire_all(scheduler)
    assert len(await runs_of(database)) == 4
    clock.advance(6)
    await end_all(database)
    await fire_all(scheduler)
    assert [await instants_of(database, i) for i in ids] == [["01:00"]] * 5


async def test_a_downtime_never_fills_the_queue(database: Database, clock: MovingClock) -> None:
    scheduler = scheduler_of(database, PendingLimits(50, 100))
    config = {"scheduleEverySeconds": 1, "scheduleOverlap": "allow", "scheduleMisfire": "all"}
    for n in range(10):
        await save(database, f"s{n}", scheduled(**config))
    await scheduler.search()
    clock.advance(30 * 86_400)
    for _ in range(3):
        await fire_all(scheduler)
    assert len(await runs_of(database)) == 50


async def test_a_clock_that_is_set_back_repeats_and_stops_nothing(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    schedule_id = await save(database, "s", scheduled(**EVERY_MINUTE, scheduleOverlap="allow"))
    await scheduler.search()
    for _ in range(5):
        clock.advance(60)
        await fire_all(scheduler)
    clock.advance(-180)
    for _ in range(5):
        clock.advance(60)
        await fire_all(scheduler)
    minutes = [f"0{n}:00" for n in range(1, 8)]
    assert await instants_of(database, schedule_id) == minutes


async def test_a_clock_that_jumps_a_year_ahead_and_back_continues(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    schedule_id = await save(database, "s", scheduled(**EVERY_MINUTE, scheduleOverlap="allow"))
    await scheduler.search()
    clock.advance(365 * 86_400)
    await fire_all(scheduler)
    clock.advance(-365 * 86_400)
    await fire_all(scheduler)
    for _ in range(3):
        clock.advance(60)
        await fire_all(scheduler)
    found = [instant for instant, _ in await runs_of(database, schedule_id)]
    assert [instant[:4] for instant in found] == ["2026"] * 3 + ["2027"]


async def test_a_change_of_the_settings_replaces_the_next_instant(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    schedule_id = await save(database, "s", scheduled(scheduleCron="0 5 * * *"), "1")
    await scheduler.search()
    assert (await read(database, schedule_id)).next_at == "2026-01-01T05:00:00.000Z"
    # The same size and, in the second case, the same ``updatedAt``.
    for hour, updated_at in (("6", "2"), ("7", "2")):
        await save(database, "s", scheduled(scheduleCron=f"0 {hour} * * *"), updated_at)
        await scheduler.search()
        assert (await read(database, schedule_id)).next_at == f"2026-01-01T0{hour}:00:00.000Z"


async def test_a_change_of_another_node_keeps_the_next_instant(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    schedule_id = await save(database, "s", scheduled(**EVERY_MINUTE), "1")
    await scheduler.search()
    before = await read(database, schedule_id)
    clock.advance(30)
    other = document(node("clock", "schedule", **EVERY_MINUTE), node("x"), flow=("clock -> x",))
    await save(database, "s", other, "2")
    await scheduler.search()
    assert await read(database, schedule_id) == before


async def test_many_workflows_are_found_in_batches(
    database: Database, scheduler: Scheduler
) -> None:
    for n in range(130):
        await save(database, f"s{n:03}", scheduled(**EVERY_MINUTE) if n % 2 else "not json")
    await scheduler.search()
    page = await database.schedules.page(None, None, 100)
    assert (len(page.items), page.end) == (65, None)
    first = await database.schedules.page(None, None, 40)
    second = await database.schedules.page(None, None, 40, first.end)
    assert [*first.items, *second.items] == page.items


@pytest.mark.parametrize(
    "content",
    [
        document(node("clock", "trigger")),
        document(node("a", "trigger"), node("clock", "schedule"), flow=("a -> clock",)),
        document({**node("clock", "schedule", **EVERY_MINUTE), "disabled": True}),
        "no document with a schedule",
    ],
)
async def test_a_removed_schedule_starts_nothing(
    database: Database, clock: MovingClock, scheduler: Scheduler, content: object
) -> None:
    await save(database, "s", scheduled(**EVERY_MINUTE), "1")
    await scheduler.search()
    await save(database, "s", content, "2")
    await scheduler.search()
    clock.advance(60)
    await fire_all(scheduler)
    assert await runs_of(database) == []
    assert (await database.schedules.page(None, None, 10)).items == []


async def test_the_schedule_of_a_deleted_workflow_is_deleted(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    await save(database, "s", scheduled(**EVERY_MINUTE))
    await scheduler.search()
    await database._access.writer.run(
        lambda connection: connection.execute(delete(workflows).where(workflows.c.id == "s"))
    )
    clock.advance(60)
    await fire_all(scheduler)
    assert await runs_of(database) == []
    await scheduler.search()
    rows = await database._access.reader.run(
        lambda c: c.execute(text("SELECT id FROM orchestrator_schedules")).all()
    )
    assert rows == []


async def test_an_invalid_schedule_has_an_error_and_starts_nothing(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    schedule_id = await save(database, "s", scheduled(scheduleCron="0 25 * * *"), "1")
    await scheduler.search()
    state = await read(database, schedule_id)
    assert state.error == "'scheduleCron' is not a valid cron expression: bad hour"
    assert (state.settings, state.next_at, state.due_at) == (None, None, None)
    await save(database, "s", scheduled(scheduleCron="0 5 * * *"), "2")
    await scheduler.search()
    state = await read(database, schedule_id)
    assert (state.error, state.next_at) == (None, "2026-01-01T05:00:00.000Z")


async def test_a_workflow_that_cannot_run_skips_its_instants(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    broken = document(
        node("clock", "schedule", **EVERY_MINUTE), node("h", "http"), flow=("clock -> h",)
    )
    schedule_id = await save(database, "s", broken, "1")
    await scheduler.search()
    clock.advance(60)
    await fire_all(scheduler)
    state = await read(database, schedule_id)
    assert (state.last_skipped_instant, state.last_skip_reason) == (
        "2026-01-01T00:01:00.000Z",
        "invalid",
    )
    await save(database, "s", scheduled(**EVERY_MINUTE), "2")
    clock.advance(60)
    await fire_all(scheduler)
    assert await instants_of(database, schedule_id) == ["02:00"]


async def test_a_paused_schedule_starts_nothing_until_it_is_resumed(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    documents = ScheduledDocuments(scheduler.node_types)
    service = ScheduleService(database, documents, NO_LIMITS, lambda: None)
    schedule_id = await save(database, "s", scheduled(**EVERY_MINUTE), "1")
    await scheduler.search()
    await service.set_paused(schedule_id, paused=True)
    await save(database, "s", scheduled(scheduleEverySeconds=30), "2")  # it stays paused
    await scheduler.search()
    clock.advance(600)
    await fire_all(scheduler)
    assert await runs_of(database) == []
    assert await database.find_violations(service_runs=True) == []
    resumed = await service.set_paused(schedule_id, paused=False)
    assert resumed.next_at == "2026-01-01T00:10:30.000Z"
    clock.advance(30)
    await fire_all(scheduler)
    assert await instants_of(database, schedule_id) == ["10:30"]


async def test_ended_executions_are_not_read_at_each_instant(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    await save(database, "s", scheduled(**EVERY_MINUTE))
    await scheduler.search()
    for _ in range(5):
        clock.advance(60)
        await fire_all(scheduler)
        await end_all(database)
    marked = text('SELECT count(*) FROM orchestrator_schedule_runs WHERE "isOpen" = 1')
    assert await database._access.reader.run(lambda c: c.scalar(marked)) == 1


async def test_retention_deletes_the_instants_of_deleted_executions(
    database: Database, clock: MovingClock, scheduler: Scheduler
) -> None:
    await save(database, "s", scheduled(**EVERY_MINUTE))
    await scheduler.search()
    clock.advance(60)
    await fire_all(scheduler)
    await end_all(database)
    clock.advance(timedelta(days=2).total_seconds())
    assert await database.retention.delete_expired(1, None) == 1
    assert await runs_of(database) == []


def test_the_id_of_a_schedule_is_unique_for_its_workflow_and_node() -> None:
    assert schedule_id_of("a", "b") == schedule_id_of("a", "b")
    assert len({schedule_id_of(*pair) for pair in (("a", "b"), ("a:b", ""), ("", "a:b"))}) == 3
