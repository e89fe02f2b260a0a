"""Tasks of people in the database: who may answer, which answers decide, and exact times."""

import json
from typing import Any

import pytest
from sqlalchemy import update

from database import Database
from database.executions.human_tasks import Answer, task_id_of
from database.executions.journal_records import NodeChanges, NodeEnded
from database.human_tasks import timers
from database.human_tasks.records import HumanTask, TaskFilter
from database.queries.results import TaskCursor
from database.tables import CLAIMABLE_NOW, callbacks, executions, runs
from database.waiting_tables import human_tasks, task_answers, task_assignees
from engine.human_tasks import Escalation, Reminders, TaskRequest, TaskStatus
from engine.outcome import Progress
from engine.parking import Resumption
from engine.request_errors import (
    AssigneeAnsweredError,
    InvalidAnswerError,
    TaskEndedError,
    TaskNeedsAssigneesError,
    TaskNotFoundError,
)
from engine.status import NodeStatus
from tests.database.test_human_tasks import parked, seen
from tests.support.call_trees import rows, write
from tests.support.fake_clock import MovingClock

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

PEOPLE = ("Ada", "Bob", "Cy")
ANYONE = TaskRequest("Pay?")
ALL_OF_TWO = TaskRequest("Pay?", None, PEOPLE, 2)
SECONDS_TO_LIMIT = 151 * 86_400  # from the start of the clock to the limit of ``parked``
BEGINS = Progress(1, 0, 0, 0)


async def answer(
    database: Database, execution_id: str, assignee: str, *, approved: bool = True, **data: Any
) -> HumanTask:
    given = Answer(approved, data or None, assignee)
    await database.human_tasks.complete(task_id_of(execution_id, "ask"), given)
    return await seen(database, execution_id)


async def others(database: Database) -> list[list[Any]]:
    """Return the rows of the execution ``other`` and of its task."""
    task = task_id_of("other", "ask")
    return [
        [row for row in await rows(database, table) if getattr(row, key) in ("other", task)]
        for table, key in (
            (human_tasks, "id"),
            (task_assignees, "taskId"),
            (executions, "id"),
            (runs, "executionId"),
        )
    ]


async def test_approvals_decide_when_enough_people_have_answered(
    database: Database, clock: MovingClock
) -> None:
    lease, _ = await parked(database, "e", ALL_OF_TWO)
    await database.journal.park(lease, None)
    other, _ = await parked(database, "other", ALL_OF_TWO)
    await database.journal.park(other, None)
    before = await others(database)
    task = await answer(database, "e", "Bob", by="Bob", first=1)
    assert (task.status, task.approvals, task.rejections) == (TaskStatus.OPEN, 1, 0)
    assert (task.approved, task.ended_at) == (None, None)
    with pytest.raises(AssigneeAnsweredError):
        await answer(database, "e", "Bob", approved=False)
    clock.advance(1)
    task = await answer(database, "e", "Cy", approved=False)
    assert (task.status, task.approvals, task.rejections) == (TaskStatus.OPEN, 1, 1)
    task = await answer(database, "e", "Ada", by="Ada")
    assert (task.status, task.approvals, task.approved) == (TaskStatus.COMPLETED, 2, True)
    assert task.ended_at == "2026-01-01T00:00:01.000Z"
    found = [(each.assignee, each.approved, each.answered_at) for each in task.answers]
    assert found == [
        ("Bob", True, "2026-01-01T00:00:00.000Z"),
        ("Ada", True, "2026-01-01T00:00:01.000Z"),
        ("Cy", False, "2026-01-01T00:00:01.000Z"),
    ]
    assert await others(database) == before
    (run,) = [row for row in await rows(database, runs) if row.executionId == "e"]
    assert run.claimableAt == CLAIMABLE_NOW
    # Later answers have precedence.
    (claimed,) = await database.queue.claim("me", 1, 30)
    resumed = await database.journal.resumptions(claimed.lease)
    assert resumed == {"ask": Resumption(approved=True, data={"by": "Ada", "first": 1})}
    with pytest.raises(TaskEndedError):
        await answer(database, "e", "Ada")


async def test_rejections_decide_when_too_few_people_remain(database: Database) -> None:
    lease, _ = await parked(database, "e", ALL_OF_TWO)
    task = await answer(database, "e", "Ada", approved=False)
    assert (task.status, task.rejections) == (TaskStatus.OPEN, 1)
    task = await answer(database, "e", "Bob", approved=False)
    assert (task.status, task.rejections, task.approved) == (TaskStatus.COMPLETED, 2, False)
    resumed = await database.journal.resumptions(lease)
    assert resumed == {"ask": Resumption(approved=False)}


async def test_an_answer_names_an_assignee_if_it_must(database: Database) -> None:
    await parked(database, "many", ALL_OF_TWO)
    for person in ("", "Eve"):
        with pytest.raises(InvalidAnswerError):
            await answer(database, "many", person)
    with pytest.raises(TaskNeedsAssigneesError):
        await database.journal.resume("many", "ask", Resumption())
    assert (await seen(database, "many")).answers == []
    await parked(database, "one", TaskRequest("Pay?", None, PEOPLE))
    with pytest.raises(InvalidAnswerError):
        await answer(database, "one", "Eve")
    assert (await answer(database, "one", "")).status == TaskStatus.COMPLETED
    await parked(database, "any", ANYONE)
    (given,) = (await answer(database, "any", "Eve")).answers
    assert given.assignee == "Eve"
    for unknown in ("unknown", "a\0"):
        with pytest.raises(TaskNotFoundError):
            await database.human_tasks.complete(unknown, Answer(approved=True))
        with pytest.raises(TaskNotFoundError):
            await database.human_tasks.read(unknown)


async def test_a_task_can_be_answered_until_its_time_limit(
    database: Database, clock: MovingClock
) -> None:
    for name in ("in time", "late"):
        await parked(database, name, ANYONE)
    clock.advance(SECONDS_TO_LIMIT - 0.001)
    assert (await answer(database, "in time", "")).status == TaskStatus.COMPLETED
    clock.advance(0.001)
    with pytest.raises(TaskEndedError, match="expired"):
        await answer(database, "late", "")
    assert (await seen(database, "late")).answers == []


@pytest.mark.parametrize(
    ("ended", "waited", "expected"),
    [
        (NodeStatus.ERROR, 5, TaskStatus.EXPIRED),
        (NodeStatus.COMPLETED, 5, TaskStatus.CANCELLED),
        (NodeStatus.WAITING, 5, TaskStatus.OPEN),
        (NodeStatus.COMPLETED, None, TaskStatus.OPEN),
    ],
)
async def test_a_task_ends_with_its_parked_node(
    database: Database, ended: NodeStatus, waited: int | None, expected: TaskStatus
) -> None:
    await parked(database, "other", ANYONE)
    before = await others(database)
    lease, seq = await parked(database, "e", TaskRequest("Pay?", None, PEOPLE))
    end = NodeEnded("ask", ended, 1, "{}", "{}", error="late", waited_ms=waited)
    await database.journal.record_step(lease, seq, BEGINS, None, NodeChanges([end]))
    task = await seen(database, "e")
    assert task.status == expected
    assert (task.ended_at is None) == (expected == TaskStatus.OPEN)
    assert {row.status for row in await rows(database, task_assignees)} == {expected}
    form = await database.human_tasks.open_form("e", "ask")
    assert form is None
    assert await others(database) == before


async def test_the_form_is_that_of_an_open_task(database: Database) -> None:
    await parked(database, "e", TaskRequest("Pay?", {"type": "object"}))
    await parked(database, "other", TaskRequest("Pay?", {"type": "array"}))
    form = database.human_tasks.open_form
    assert json.loads(await form("e", "ask") or "") == {"type": "object"}
    assert await form("e", "another") is None
    await answer(database, "e", "")
    assert await form("e", "ask") is None


async def test_lists_contain_the_tasks_that_meet_all_conditions(
    database: Database, clock: MovingClock
) -> None:
    for number, people in enumerate((("Ada",), ("Ada", "Bob"), ("Bob",), ())):
        await parked(database, f"e{number}", TaskRequest("Pay?", None, people))
        clock.advance(0 if number == 1 else 1)
    for table in (human_tasks, task_assignees):
        in_organization = table.c.createdAt > "2026-01-01T00:00:00.000Z"
        changed = update(table).where(in_organization).values(organizationId="a")
        await write(database, changed)
    await answer(database, "e1", "Ada")

    async def names(wanted: TaskFilter, limit: int = 9, after: TaskCursor | None = None) -> Any:
        page = await database.human_tasks.page(wanted, limit, after)
        return [task.execution_id for task in page.items], page.end

    same_time = sorted(("e1", "e2"), key=lambda name: task_id_of(name, "ask"), reverse=True)
    assert await names(TaskFilter()) == (["e3", *same_time, "e0"], None)
    completed = frozenset({TaskStatus.COMPLETED})
    both = frozenset({TaskStatus.COMPLETED, TaskStatus.OPEN})
    assert (await names(TaskFilter(statuses=completed)))[0] == ["e1"]
    assert (await names(TaskFilter(statuses=both)))[0] == ["e3", *same_time, "e0"]
    assert (await names(TaskFilter(assignee="Ada")))[0] == ["e1", "e0"]
    assert (await names(TaskFilter(assignee="Ada", statuses=completed)))[0] == ["e1"]
    assert (await names(TaskFilter("a")))[0] == ["e3", *same_time]
    assert (await names(TaskFilter("a", "Ada")))[0] == ["e1"]
    assert (await names(TaskFilter("b")))[0] == []
    assert (await names(TaskFilter(execution_id="e2")))[0] == ["e2"]
    assert (await names(TaskFilter("a", execution_id="e0")))[0] == []
    assert (await names(TaskFilter(execution_id="e1", statuses=completed)))[0] == ["e1"]
    assert (await names(TaskFilter(execution_id="e2", statuses=completed)))[0] == []
    assert (await names(TaskFilter(assignee="Bob", execution_id="e2")))[0] == ["e2"]
    for limit in (1, 2, 3, 4):
        for wanted in (TaskFilter(), TaskFilter(statuses=both)):
            found: list[str] = []
            after: TaskCursor | None = None
            while True:
                some, after = await names(wanted, limit, after)
                assert len(some) <= limit
                found += some
                if after is None:
                    break
            assert found == ["e3", *same_time, "e0"]
    page = await database.human_tasks.page(TaskFilter(), 9)
    assert {task.execution_id: list(task.assignees) for task in page.items} == {
        "e0": ["Ada"],
        "e1": ["Ada", "Bob"],
        "e2": ["Bob"],
        "e3": [],
    }


async def test_timers_run_at_their_time_and_in_batches(
    database: Database, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    remind, escalate = Reminders(10, 2), Escalation(15, ("Eve",))
    await parked(database, "remind", TaskRequest("Pay?", None, ("Ada",), 1, remind))
    await parked(database, "escalate", TaskRequest("Pay?", None, ("Ada",), 1, None, escalate))
    await parked(database, "both", TaskRequest("Pay?", None, ("Ada",), 1, remind, escalate))
    await parked(database, "none", ANYONE)

    async def due() -> dict[str, str | None]:
        found = {row.executionId: row.dueAt for row in await rows(database, human_tasks)}
        return {name: at and at[17:23] for name, at in found.items()}

    assert await due() == {
        "remind": "10.000",
        "escalate": "15.000",
        "both": "10.000",
        "none": None,
    }
    clock.advance(9.999)
    assert await database.task_timers.run_due() == 0
    clock.advance(0.001)
    monkeypatch.setattr(timers, "BATCH_SIZE", 1)
    assert [await database.task_timers.run_due() for _ in range(3)] == [1, 1, 0]
    assert await due() == {
        "remind": "20.000",
        "escalate": "15.000",
        "both": "15.000",
        "none": None,
    }
    clock.advance(5)
    monkeypatch.setattr(timers, "BATCH_SIZE", 9)
    assert await database.task_timers.run_due() == 2
    assert list((await seen(database, "both")).assignees) == ["Ada", "Eve"]
    assert list((await seen(database, "remind")).assignees) == ["Ada"]
    clock.advance(5)
    assert await database.task_timers.run_due() == 2
    assert await due() == dict.fromkeys(("remind", "escalate", "both", "none"))
    for name in ("remind", "both"):
        assert (await seen(database, name)).reminders == 2
    assert (await seen(database, "escalate")).reminders == 0
    (answered,) = (await answer(database, "both", "Eve")).answers
    assert answered.assignee == "Eve"


async def test_a_reminder_is_sent_to_the_receiver_of_the_execution(
    database: Database, clock: MovingClock
) -> None:
    message = f"{'a' * 9_999}bc"
    task = TaskRequest(message, None, ("Bob", "Ada"), 1, Reminders(10, 1), Escalation(20, ("Eve",)))
    await parked(database, "e", task)
    row = {"id": "e", "executionId": "e", "host": "h", "url": "http://h/"}
    await write(database, callbacks.insert().values(row))
    await parked(database, "without receiver", task)
    for _ in range(2):
        clock.advance(10)
        await database.task_timers.run_due()
    task_id = task_id_of("e", "ask")
    sent = [row for row in await rows(database, callbacks) if row.body is not None]
    assert [row.id for row in sent] == [f"{task_id}:reminder-1", f"{task_id}:escalation"]
    assert {row.executionId for row in sent} == {"e"}
    assert [row.dueAt for row in sent] == ["2026-01-01T00:00:10.000Z", "2026-01-01T00:00:20.000Z"]
    bodies = [json.loads(row.body) for row in sent]
    assert [body["type"] for body in bodies] == ["task_reminder", "task_escalation"]
    assert [body["assignees"] for body in bodies] == [["Ada", "Bob"], ["Ada", "Bob", "Eve"]]
    assert {body["message"] for body in bodies} == {message[:10_000]}


async def test_the_timer_of_a_task_that_has_ended_is_removed(
    database: Database, clock: MovingClock
) -> None:
    for name in ("e", "other"):
        await parked(database, name, TaskRequest("Pay?", None, (), 1, Reminders(10, 1)))
    # Another program has ended the task, but not its timer.
    own_row = human_tasks.c.executionId == "e"
    await write(database, update(human_tasks).where(own_row).values(status="completed"))
    clock.advance(10)
    assert await database.task_timers.run_due() == 2
    task = await seen(database, "e")
    assert (task.reminders, task.next_reminder_at) == (0, None)
    assert (await seen(database, "other")).reminders == 1
    assert await database.task_timers.run_due() == 0


@pytest.mark.parametrize("data", [None, {}, {"n": 1}])
async def test_a_resumption_is_the_answer_to_an_open_task(
    database: Database, data: dict[str, Any] | None
) -> None:
    await parked(database, "e", TaskRequest("Pay?", None, ("Ada",)))
    await database.journal.resume("e", "ask", Resumption(approved=False, data=data))
    (row,) = await rows(database, task_answers)
    assert (row.assignee, row.approved) == ("", 0)
    assert (None if row.data is None else json.loads(row.data)) == data
    assert (await seen(database, "e")).status == TaskStatus.COMPLETED
