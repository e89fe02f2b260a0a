"""Tasks of people in the database: the cost of their lists, and answers that lose a race."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from database import Database, to_text
from database.executions.human_tasks import Answer, task_id_of
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeStarted,
)
from database.human_tasks.records import HumanTask, TaskFilter
from database.queries.results import TaskCursor
from database.records import Lease
from engine.document import Node
from engine.errors import ConflictError
from engine.human_tasks import Escalation, Reminders, TaskRequest, TaskStatus
from engine.outcome import Progress
from engine.parking import Resumption
from engine.request_errors import TaskEndedError
from engine.status import ExecutionStatus, NodeStatus
from tests.database.test_flat_cost import PAGE, opened
from tests.support.call_trees import submission
from tests.support.database_work import counted_work, growth
from tests.support.fake_clock import MovingClock
from tests.support.open_tasks import RARE, fill_tasks
from tests.support.two_workers import Workers, both

HOUR, DAY = 3_600, 86_400
OPEN = frozenset({TaskStatus.OPEN})
ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.EXPIRED})
FILTERS = {
    "all": TaskFilter(),
    "open": TaskFilter(statuses=OPEN),
    "ended": TaskFilter(statuses=ENDED),
    "expired": TaskFilter(statuses=frozenset({TaskStatus.EXPIRED})),
    "organization": TaskFilter("many", statuses=OPEN),
    "rare organization": TaskFilter("few"),
    "assignee": TaskFilter(assignee="person1@example.com", statuses=OPEN),
    "assignee, all": TaskFilter(assignee="person1@example.com"),
    "rare assignee": TaskFilter(assignee=RARE, statuses=OPEN),
    "assignee of organization": TaskFilter("many", "person1@example.com", statuses=OPEN),
    "execution": TaskFilter(execution_id="t000100", statuses=OPEN),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_lists_read_the_same_among_many_tasks(kind: str, tmp_path: Path) -> None:
    few = await measured(kind, tmp_path / "few.sqlite", 600)
    many = await measured(kind, tmp_path / "many.sqlite", 6_000)
    assert growth(few, many) == {}


async def measured(kind: str, path: Path, count: int) -> dict[str, int]:
    """Return the work of each list in a database with ``count`` open tasks."""
    async with opened(kind, path) as database:
        await fill_tasks(database, count)
        found: dict[str, int] = {}
        for name, wanted in FILTERS.items():
            for after in (None, TaskCursor("2025-12-01T00:08:00.000Z", "t")):
                with counted_work() as work:
                    await database.human_tasks.page(wanted, PAGE, after)
                found[f"{name}, {after is not None}"] = work.amount
        operations = {
            "read": lambda: database.human_tasks.read("t000100"),
            "no timer": database.task_timers.run_due,
        }
        for name, operation in operations.items():
            with counted_work() as work:
                await operation()
            found[name] = work.amount
        return found


async def parked(database: Database, execution_id: str, task: TaskRequest) -> tuple[Lease, int]:
    """Return the lease of an execution whose node ``ask`` waits, and its sequence number."""
    await database.submissions.submit(submission(execution_id))
    (run,) = await database.queue.claim("me", 1, 30.0)
    progress = Progress(1, 0, 0, 0)
    start = NodeStarted(Node("ask", "approval", "Ask", {}), "{}", 1, resumed=False)
    journal, lease = database.journal, run.lease
    seq = await journal.record_step(lease, 2, progress, "ask", NodeChanges(started=[start]))
    waits = NodeEnded(
        "ask",
        NodeStatus.WAITING,
        0,
        "{}",
        '{"park": {"asks": true}}',
        wait_until="2026-06-01T00:00:00.000Z",
        waiting_since="2026-01-01T00:00:00.000Z",
        task=task,
    )
    return lease, await journal.record_step(lease, seq, progress, "ask", NodeChanges([waits]))


async def seen(database: Database, execution_id: str) -> HumanTask:
    return await database.human_tasks.read(task_id_of(execution_id, "ask"))


async def test_one_of_many_concurrent_answers_decides(database: Database) -> None:
    await parked(database, "e", TaskRequest("Pay?"))
    task = await seen(database, "e")
    answers = [
        *(database.human_tasks.complete(task.id, Answer(bool(n % 2))) for n in range(10)),
        *(database.journal.resume("e", "ask", Resumption(bool(n % 2))) for n in range(10)),
    ]
    results = await asyncio.gather(*answers, return_exceptions=True)
    lost = [result for result in results if isinstance(result, BaseException)]
    assert len(lost) == len(answers) - 1
    assert all(isinstance(error, ConflictError) for error in lost)
    ended = await seen(database, "e")
    assert (ended.status, len(ended.answers)) == (TaskStatus.COMPLETED, 1)
    assert ended.approved == ended.answers[0].approved
    assert await database.find_violations(service_runs=False) == []


async def test_an_answer_after_the_time_limit_is_refused(
    database: Database, clock: MovingClock
) -> None:
    lease, seq = await parked(database, "e", TaskRequest("Pay?", assignees=("Ada",)))
    task = await seen(database, "e")
    clock.advance(365 * DAY)
    with pytest.raises(ConflictError, match="expired"):
        await database.human_tasks.complete(task.id, Answer(approved=True))
    expired = NodeEnded("ask", NodeStatus.ERROR, None, error="late", waited_ms=1)
    clock.advance(-365 * DAY)
    await database.journal.record_step(
        lease, seq, Progress(1, 0, 1, 0), None, NodeChanges([expired])
    )
    assert (await seen(database, "e")).status == TaskStatus.EXPIRED
    assert await database.find_violations(service_runs=False) == []


async def test_the_first_of_an_answer_and_the_time_limit_decides(database: Database) -> None:
    answered, _ = await parked(database, "answered", TaskRequest("Pay?"))
    task = await seen(database, "answered")
    await database.human_tasks.complete(task.id, Answer(approved=True))
    # The service that runs the execution sees that the time has passed, at the same millisecond.
    assert await database.journal.expire(answered, ["ask"]) == {"ask": Resumption()}
    assert (await seen(database, "answered")).status == TaskStatus.COMPLETED
    late, _ = await parked(database, "late", TaskRequest("Pay?"))
    assert await database.journal.expire(late, ["ask"]) == {"ask": Resumption(expired=True)}
    task = await seen(database, "late")
    assert task.status == TaskStatus.EXPIRED
    with pytest.raises(TaskEndedError, match="expired"):
        await database.human_tasks.complete(task.id, Answer(approved=True))
    with pytest.raises(ConflictError, match="already resumed"):
        await database.journal.resume("late", "ask", Resumption())
    assert await database.find_violations(service_runs=False) == []


async def test_the_deletion_of_an_execution_deletes_its_tasks(
    database: Database, clock: MovingClock
) -> None:
    await parked(database, "e", TaskRequest(None, {"type": "object"}, ("Ada", "Bob"), 2))
    task = await seen(database, "e")
    await database.human_tasks.complete(task.id, Answer(approved=True, assignee="Ada"))
    await database.queue.request_cancel("e")
    lease = Lease("e", "me", 30.0)
    await database.journal.finish(lease, 6, ExecutionResult(ExecutionStatus.CANCELLED))
    assert (await seen(database, "e")).status == TaskStatus.CANCELLED
    clock.advance(2 * DAY)
    assert await database.retention.delete_expired(1, None) == 1
    page = await database.human_tasks.page(TaskFilter(assignee="Bob"), PAGE)
    assert page.items == []


async def test_a_task_is_reminded_once_by_two_workers_and_not_in_a_series(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = (worker.database for worker in workers)
    request = TaskRequest(
        "Pay?", None, ("Ada",), 1, Reminders(HOUR, 3), Escalation(2 * HOUR, ("Eve", "Ada"))
    )
    await parked(first, "e", request)
    await parked(first, "other", request)
    other = task_id_of("other", "ask")
    await both(first.task_timers.run_due(), second.task_timers.run_due())
    assert (await seen(first, "e")).reminders == 0
    clock.advance(HOUR)
    await both(first.task_timers.run_due(), second.task_timers.run_due())
    task = await seen(first, "e")
    assert (task.reminders, task.reminded_at) == (1, to_text(clock()))
    await first.human_tasks.complete(other, Answer(approved=True))
    clock.advance(9 * HOUR)  # no service ran
    await both(first.task_timers.run_due(), second.task_timers.run_due())
    task = await seen(first, "e")
    assert (task.reminders, task.escalated_at) == (2, to_text(clock()))
    assert (list(task.assignees), task.escalates_at) == (["Ada", "Eve"], None)
    assert task.next_reminder_at == to_text(clock() + timedelta(seconds=HOUR))
    clock.advance(HOUR)
    assert await first.task_timers.run_due() == 1
    clock.advance(9 * HOUR)
    assert await second.task_timers.run_due() == 0
    assert (await seen(first, "e")).reminders == 3
    ended = await first.human_tasks.read(other)
    assert (ended.reminders, ended.next_reminder_at, ended.escalated_at) == (1, None, None)
    page = await first.human_tasks.page(TaskFilter(assignee="Eve", statuses=OPEN), PAGE)
    assert [each.execution_id for each in page.items] == ["e"]
    assert await first.find_violations(service_runs=False) == []
