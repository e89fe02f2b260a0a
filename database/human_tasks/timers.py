"""Task timers: reminds people of open tasks, and escalates tasks to further people.

One transaction changes the task and stores the callback about it, and only if the task is still
due. So several services, and crashes between two statements, record each reminder once.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from database.clock import Clock, to_text
from database.connection.engines import insert_or_ignore
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.callbacks import add_task_callback
from database.executions.resumptions import lock_execution
from database.foreign_values import text_of
from database.tables import executions, runs
from database.waiting_tables import human_tasks, task_assignees
from engine.human_tasks import TaskStatus

BATCH_SIZE = 50
"""Maximum number of due tasks that one query returns."""
MAX_MESSAGE_CHARACTERS = 10_000
"""Maximum length of the message of a task in a callback, in characters."""

AnyRow = Row[*tuple[Any, ...]]

_DUE = (
    select(human_tasks, executions.c.workflowId, runs.c.workflowName)
    .join(executions, executions.c.id == human_tasks.c.executionId)
    .join(runs, runs.c.executionId == human_tasks.c.executionId)
)


class TaskTimers:
    """The reminders and escalations of open tasks."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def run_due(self) -> int:
        """Remind or escalate the tasks that are due, up to a batch; return their number."""
        due = (
            select(human_tasks.c.id, human_tasks.c.executionId)
            .where(human_tasks.c.dueAt <= to_text(self._clock()))
            .order_by(human_tasks.c.dueAt)
            .limit(BATCH_SIZE)
        )
        # Reads first, so that an idle service does not take the write lock.
        found = await self._reader.run(lambda connection: connection.execute(due).all())
        for task in found:
            await self._writer.run(
                lambda connection, task=task: self._run(connection, task.id, task.executionId)
            )
        return len(found)

    def _run(self, connection: Connection, task_id: str, execution_id: str) -> None:
        lock_execution(connection, execution_id)
        now = to_text(self._clock())
        is_due = (human_tasks.c.status == TaskStatus.OPEN, human_tasks.c.dueAt <= now)
        own_row = human_tasks.c.id == task_id
        task = connection.execute(_DUE.where(own_row, *is_due)).first()
        if task is None:
            # Another service was first, or the task has ended or lost its execution.
            stale = update(human_tasks).where(own_row, human_tasks.c.dueAt <= now)
            connection.execute(stale.values(dueAt=None, nextReminderAt=None, escalatesAt=None))
            return
        reminder, escalation = task.nextReminderAt, task.escalatesAt
        values: dict[str, object] = {}
        if escalation is not None and escalation <= now:
            escalation = None
            values |= {"escalatesAt": None, "escalatedAt": now}
            _add_assignees(connection, task)
            _notify(connection, task, "task_escalation", f"{task.id}:escalation", now)
        if reminder is not None and reminder <= now:
            number, left = task.reminders + 1, task.remindersLeft - 1
            pause = timedelta(milliseconds=task.remindEveryMs)
            # From now on, so that a service that did not run for long sends no series of reminders.
            reminder = to_text(datetime.fromisoformat(now) + pause) if left > 0 else None
            values |= {"reminders": number, "remindersLeft": left, "remindedAt": now}
            values |= {"nextReminderAt": reminder}
            _notify(connection, task, "task_reminder", f"{task.id}:reminder-{number}", now)
        values["dueAt"] = min(filter(None, (reminder, escalation)), default=None)
        connection.execute(update(human_tasks).where(own_row).values(values))


def _add_assignees(connection: Connection, task: AnyRow) -> None:
    """Let the people of the escalation answer the task, in addition to the assignees."""
    shared = {
        "organizationId": task.organizationId,
        "status": task.status,
        "createdAt": task.createdAt,
    }
    further: list[str] = json.loads(task.escalationAssignees)
    rows = [{"taskId": task.id, "assignee": name, **shared} for name in further]
    connection.execute(insert_or_ignore(connection.dialect.name, task_assignees), rows)


def _notify(
    connection: Connection, task: AnyRow, event_type: str, callback_id: str, now: str
) -> None:
    people = (
        select(task_assignees.c.assignee)
        .where(task_assignees.c.taskId == task.id)
        .order_by(task_assignees.c.assignee)
    )
    body = {
        "type": event_type,
        "taskId": task.id,
        "executionId": task.executionId,
        "workflowId": text_of(task.workflowId),
        "workflowName": task.workflowName,
        "organizationId": task.organizationId,
        "nodeId": task.nodeId,
        "message": None if task.message is None else task.message[:MAX_MESSAGE_CHARACTERS],
        "assignees": list(connection.scalars(people)),
        "createdAt": task.createdAt,
        "expiresAt": task.expiresAt,
        "at": now,
    }
    text = json.dumps(body, separators=(",", ":"))
    add_task_callback(connection, callback_id, task.executionId, text, now)
