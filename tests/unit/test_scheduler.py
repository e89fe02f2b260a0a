"""Scheduler and schedule service in virtual time: searches, batches and repeated changes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from database import to_text
from database.executions.inputs import Submission
from database.records import Workflow
from database.schedules.detection import MAX_CHANGED_WORKFLOWS, ChangedWorkflows
from database.schedules.records import Fired, Instant, WorkflowVersion
from engine.errors import StorageBusyError, StorageUnavailableError
from engine.request_errors import InvalidBackfillError, InvalidScheduleError
from flows.schedules.decisions import settings_text
from flows.schedules.documents import ScheduledDocuments
from flows.schedules.scheduler import FIRING_BATCH_SIZE, Scheduler, SchedulerSettings
from flows.schedules.service import (
    BACKFILL_BATCH_SIZE,
    MAX_ATTEMPTS,
    MAX_BACKFILL_INSTANTS,
    ScheduleService,
)
from tasks.flow.schedule import ScheduleConfig
from tasks.registry import DEFAULT
from tests.support.schedules import NO_LIMITS
from tests.support.scripted_database import START, ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time
from tests.unit.test_schedule_decisions import schedule

BUSY = StorageUnavailableError("busy")
SETTINGS = settings_text(ScheduleConfig.model_validate({"scheduleEverySeconds": 60}))
POLL_SECONDS = 1.0

Patch = pytest.MonkeyPatch


def scheduler_of(database: ScriptedDatabase) -> tuple[Scheduler, list[float]]:
    """Return a scheduler and the times at which it notified the worker."""
    for name in ("schedule_detection", "firings", "schedules"):
        database.add(name)
    started: list[float] = []

    def on_started() -> None:
        started.append(asyncio.get_running_loop().time())

    settings = SchedulerSettings(NO_LIMITS, POLL_SECONDS)
    return Scheduler(database.typed, DEFAULT, settings, on_started), started


def versions(first: int, count: int) -> list[WorkflowVersion]:
    numbers = range(first, first + count)
    return [WorkflowVersion(f"w{number}", "now", 0, None) for number in numbers]


# Intervals


@pytest.mark.parametrize(
    ("duration", "times"),
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6]),
        (0.05, [0, 3.05, 6.1]),  # at most 2 % of the time
        (0.5, [0, 5.5]),  # at most five seconds between two searches
    ],
)
@in_virtual_time
async def test_searches_take_a_small_share_of_the_time(
    duration: float, times: list[float], monkeypatch: Patch
) -> None:
    database = ScriptedDatabase(firings__due=[[]])
    scheduler, _ = scheduler_of(database)
    searched: list[float] = []

    async def search(_: Scheduler) -> None:
        searched.append(round(asyncio.get_running_loop().time(), 3))
        await asyncio.sleep(duration)

    monkeypatch.setattr(Scheduler, "search", search)
    await run_for(6.9, scheduler.run_forever())
    assert searched == times
    # Due schedules do not wait for the next search.
    assert len(database.times("firings.due")) == len(range(7)) - (1 if duration == 0.5 else 0)


@pytest.mark.parametrize(
    ("error", "event"),
    [(BUSY, "database_unavailable"), (ValueError("a defect"), "schedules_failed")],
)
@in_virtual_time
async def test_the_scheduler_continues_after_an_error(error: Exception, event: str) -> None:
    database = ScriptedDatabase(
        schedule_detection__changed_workflows=[ChangedWorkflows([], [])],
        firings__due=[error, []],
    )
    scheduler, started = scheduler_of(database)
    with capture_logs() as logs:
        await run_for(1.5, scheduler.run_forever())
    assert [found["event"] for found in logs] == [event]
    assert database.times("firings.due") == [0, 1]
    assert started == []


# Due schedules


@pytest.mark.parametrize(
    ("due", "result", "more", "notifies"),
    [
        (FIRING_BATCH_SIZE, Fired(["e"]), True, True),
        (FIRING_BATCH_SIZE, Fired([]), True, False),
        (FIRING_BATCH_SIZE, Fired([], ["running"]), True, True),
        (FIRING_BATCH_SIZE, Fired(["e"], is_queue_full=True), False, True),
        (FIRING_BATCH_SIZE, None, False, False),  # another service has handled all of them
        (FIRING_BATCH_SIZE - 1, Fired(["e"]), False, True),
        (0, None, False, False),
    ],
)
@in_virtual_time
async def test_the_next_batch_follows_if_more_schedules_may_be_due(
    due: int, result: Fired | None, more: bool, notifies: bool, monkeypatch: Patch
) -> None:
    async def handle(*_: Any) -> Fired | None:
        return result

    monkeypatch.setattr(Scheduler, "_handle", handle)
    database = ScriptedDatabase(firings__due=[[(None, None)] * due])
    scheduler, started = scheduler_of(database)
    assert await scheduler.fire_due() is more
    assert len(started) == notifies
    assert database.arguments["firings.due"] == [(FIRING_BATCH_SIZE,)]


# Searches


@in_virtual_time
async def test_without_a_change_a_search_only_reads_the_counter() -> None:
    database = ScriptedDatabase(
        schedule_detection__has_changes=[False],
        schedule_detection__changed_workflows=[ChangedWorkflows([], [])],
    )
    scheduler, _ = scheduler_of(database)
    await scheduler.search()  # the first one of a service
    database.calls.clear()
    await scheduler.search()
    assert [name for _, name in database.calls] == ["schedule_detection.has_changes"]


@pytest.mark.parametrize(
    ("pages", "stored"),
    [
        ([ChangedWorkflows([], [])], 0),
        ([ChangedWorkflows(versions(0, 1), [])], 1),
        ([ChangedWorkflows([], ["old"])], 1),
        ([ChangedWorkflows(versions(0, MAX_CHANGED_WORKFLOWS), []), ChangedWorkflows([], [])], 1),
        (
            [
                ChangedWorkflows([], ["old"] * MAX_CHANGED_WORKFLOWS),
                ChangedWorkflows(versions(0, 2), []),
            ],
            2,
        ),
    ],
)
@in_virtual_time
async def test_all_pages_of_changed_workflows_are_searched(
    pages: list[ChangedWorkflows], stored: int
) -> None:
    database = ScriptedDatabase(schedule_detection__changed_workflows=[*pages, BUSY])
    scheduler, _ = scheduler_of(database)
    await scheduler.search()
    assert len(database.arguments["schedule_detection.changed_workflows"]) == len(pages)
    assert len(database.arguments["schedule_detection.store"]) == stored


@in_virtual_time
async def test_workflows_that_are_found_again_do_not_repeat_a_search() -> None:
    page = ChangedWorkflows(versions(0, MAX_CHANGED_WORKFLOWS), [])
    database = ScriptedDatabase(schedule_detection__changed_workflows=[page])
    scheduler, _ = scheduler_of(database)
    await scheduler.search()
    assert len(database.arguments["schedule_detection.changed_workflows"]) == 2
    assert len(database.arguments["schedule_detection.store"]) == 1


@in_virtual_time
async def test_documents_are_compared_page_by_page_after_each_change() -> None:
    database = ScriptedDatabase(
        schedule_detection__has_changes=[True, False, False, False, True],
        schedule_detection__changed_workflows=[ChangedWorkflows([], [])],
        schedule_detection__changed_documents=[
            ([], "w1"),
            (versions(2, 1), None),
            ([], "w1"),
        ],
    )
    scheduler, _ = scheduler_of(database)
    for _ in range(5):
        await scheduler.search()
    compared = database.arguments["schedule_detection.changed_documents"]
    assert compared == [("",), ("w1",), ("",)]
    assert len(database.arguments["schedule_detection.store"]) == 1


# The service


class Service:
    """A schedule service with one schedule, every minute from ``START``."""

    def __init__(self, monkeypatch: Patch, settings: str | None = SETTINGS, **answers: Any) -> None:
        self.schedule = replace(schedule(), settings=settings)
        workflow = Workflow("w", "W", "{}", None)
        answers.setdefault("schedules__read", [(self.schedule, workflow)])
        self.database = ScriptedDatabase(**answers)
        self.database.add("schedules")
        self.database.add("firings")
        self.wakes = 0
        documents = ScheduledDocuments(DEFAULT)

        async def total_nodes(*_: Any) -> int:
            return 2

        monkeypatch.setattr(ScheduledDocuments, "total_nodes", total_nodes)
        self.service = ScheduleService(self.database.typed, documents, NO_LIMITS, self._wake)

    def _wake(self) -> None:
        self.wakes += 1


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.mark.parametrize("settings", [SETTINGS, None])
@in_virtual_time
async def test_the_next_instants_are_after_now(settings: str | None, monkeypatch: Patch) -> None:
    service = Service(monkeypatch, settings)
    await asyncio.sleep(30)
    found = service.service.next_instants(service.schedule, 3)
    assert found == ([] if settings is None else [to_text(at(minute)) for minute in (1, 2, 3)])


@in_virtual_time
async def test_a_schedule_that_is_paused_already_is_not_changed(monkeypatch: Patch) -> None:
    service = Service(monkeypatch)
    assert await service.service.set_paused("s", paused=False) is service.schedule
    assert "schedules.set_next" not in service.database.arguments


@pytest.mark.parametrize("settings", [SETTINGS, None])
@in_virtual_time
async def test_a_change_is_repeated_while_executions_change_the_schedule(
    settings: str | None, monkeypatch: Patch
) -> None:
    service = Service(monkeypatch, settings)
    changes: list[Any] = []

    async def set_next(_: Any, following: Any, *, paused: bool) -> bool:
        changes.append((following.next_at, paused))
        return len(changes) == 3

    parts = cast("Any", service.database)
    read = parts.schedules.read
    parts.schedules = SimpleNamespace(read=read, set_next=set_next)
    await service.service.set_paused("s", paused=True)
    following = None if settings is None else to_text(at(1))
    assert changes == [(following, True)] * 3
    changes[:] = [None] * 3
    with pytest.raises(StorageBusyError):
        await service.service.set_paused("s", paused=True)
    assert len(changes) == 3 + MAX_ATTEMPTS


@in_virtual_time
async def test_a_backfill_stores_its_instants_in_batches(monkeypatch: Patch) -> None:
    submission = cast("Submission", None)
    stored = Instant("stored", submission)
    service = Service(monkeypatch, firings__backfill=[[stored], [stored, stored], []])
    await asyncio.sleep(3600)
    minutes = 2 * BACKFILL_BATCH_SIZE + 1
    backfill = await service.service.backfill("s", at(0), at(minutes))
    batches = [prepared for _, prepared, _ in service.database.arguments["firings.backfill"]]
    assert [len(batch) for batch in batches] == [BACKFILL_BATCH_SIZE, BACKFILL_BATCH_SIZE, 1]
    assert [instant.at for batch in batches for instant in batch] == [
        to_text(at(minute)) for minute in range(minutes)
    ]
    assert (backfill.matched, len(backfill.started)) == (minutes, 3)
    assert service.wakes == 3


@pytest.mark.parametrize(
    ("since", "until", "pointer"),
    [
        (at(0), at(MAX_BACKFILL_INSTANTS), None),
        (at(0), at(MAX_BACKFILL_INSTANTS + 1), "/to"),
        (at(1), at(1), "/to"),
        (at(2), at(1), "/to"),
        (at(599), at(600), None),
        (at(600), at(600) + timedelta(milliseconds=1), "/to"),
        (datetime(1970, 1, 1, tzinfo=UTC) - timedelta(seconds=1), at(1), "/from"),
    ],
)
@in_virtual_time
async def test_a_backfill_has_a_past_interval_of_limited_size(
    since: datetime, until: datetime, pointer: str | None, monkeypatch: Patch
) -> None:
    service = Service(monkeypatch, firings__backfill=[[]])
    await asyncio.sleep(600 * 60)
    if pointer is None:
        assert (await service.service.backfill("s", since, until)).started == []
        return
    with pytest.raises(InvalidBackfillError) as error:
        await service.service.backfill("s", since, until)
    assert error.value.problems[0].pointer == pointer
    assert "firings.backfill" not in service.database.arguments


@in_virtual_time
async def test_an_invalid_schedule_has_no_backfill(monkeypatch: Patch) -> None:
    service = Service(monkeypatch, None)
    with pytest.raises(InvalidScheduleError):
        await service.service.backfill("s", at(0), at(1))
