"""Task store: reads and lists tasks, and records answers."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, select, tuple_, union_all

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.human_tasks import Answer, Decision, answer_task, task_id_of
from database.executions.resumptions import lock_execution, store_resumption
from database.foreign_values import required_text_of, text_of
from database.human_tasks.records import HumanTask, TaskAnswer, TaskFilter
from database.queries.listings import Page, page_of
from database.queries.results import TaskCursor
from database.tables import executions, logs, runs
from database.waiting_tables import human_tasks, task_answers, task_assignees
from engine.human_tasks import TaskStatus
from engine.request_errors import TaskNotFoundError

_TASKS = (
    select(
        human_tasks,
        executions.c.workflowId,
        runs.c.workflowName,
        logs.c.nodeLabel,
    )
    .join(executions, executions.c.id == human_tasks.c.executionId)
    .join(runs, runs.c.executionId == human_tasks.c.executionId)
    .outerjoin(logs, logs.c.id == human_tasks.c.executionId + ":" + human_tasks.c.nodeId)
)


class HumanTasks:
    """The tasks of people."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def read(self, task_id: str) -> HumanTask:
        """Return a task with its answers.

        Raises:
            TaskNotFoundError: If it does not exist.
        """
        if "\0" in task_id:
            raise TaskNotFoundError(task_id)  # PostgreSQL rejects the parameter

        def read(connection: Connection) -> HumanTask:
            row = connection.execute(_TASKS.where(human_tasks.c.id == task_id)).first()
            if row is None:
                raise TaskNotFoundError(task_id)
            answers = connection.execute(
                select(task_answers)
                .where(task_answers.c.taskId == task_id)
                .order_by(task_answers.c.answeredAt, task_answers.c.assignee)
            )
            people = _assignees(connection, [task_id]).get(task_id, [])
            return _task_of(
                row,
                people,
                [
                    TaskAnswer(answer.assignee or None, bool(answer.approved), answer.answeredAt)
                    for answer in answers
                ],
            )

        return await self._reader.run(read)

    async def open_form(self, execution_id: str, node_id: str) -> str | None:
        """Return the form of the open task of a node run; ``None`` if it has none."""
        query = select(human_tasks.c.form).where(
            human_tasks.c.id == task_id_of(execution_id, node_id),
            human_tasks.c.status == TaskStatus.OPEN,
        )
        return await self._reader.run(lambda connection: connection.scalar(query))

    async def page(
        self, wanted: TaskFilter, limit: int, after: TaskCursor | None = None
    ) -> Page[HumanTask, TaskCursor]:
        """Return up to ``limit`` tasks, newest first, without their answers."""
        query = _page_query(wanted, limit, after)

        def read(connection: Connection) -> list[HumanTask]:
            rows = connection.execute(query).all()
            people = _assignees(connection, [row.id for row in rows])
            return [_task_of(row, people.get(row.id, [])) for row in rows]

        found = await self._reader.run(read)
        return page_of(
            found, limit, lambda task: task, lambda last: TaskCursor(last.created_at, last.id)
        )

    async def complete(self, task_id: str, answer: Answer) -> Decision:
        """Record an answer; if it decides, end the task and resume its node.

        Raises:
            TaskNotFoundError: If the task does not exist.
            TaskEndedError: If the task is not open.
            InvalidAnswerError: If the answer lacks an assignee, or has a wrong one.
            AssigneeAnsweredError: If the same assignee has answered before.
        """
        if "\0" in task_id:
            raise TaskNotFoundError(task_id)
        execution_of = select(human_tasks.c.executionId).where(human_tasks.c.id == task_id)

        def write(connection: Connection) -> Decision:
            execution_id = connection.scalar(execution_of)
            if execution_id is None:
                raise TaskNotFoundError(task_id)
            lock_execution(connection, execution_id)
            found = answer_task(connection, task_id, answer, to_text(self._clock()))
            if found.resumption is not None:
                store_resumption(connection, found.execution_id, found.node_id, found.resumption)
            return found

        return await self._writer.run(write)


def _page_query(
    wanted: TaskFilter, limit: int, after: TaskCursor | None
) -> Select[*tuple[Any, ...]]:
    """Return the query of a page and of the first task after it.

    It merges a page of each status, because an index contains the tasks of one status in the order
    of the list.
    """
    key = (human_tasks.c.createdAt, human_tasks.c.id)
    table = human_tasks
    query = _TASKS
    if wanted.assignee is not None:
        table = task_assignees
        key = (task_assignees.c.createdAt, task_assignees.c.taskId)
        query = query.join(task_assignees, task_assignees.c.taskId == human_tasks.c.id).where(
            task_assignees.c.assignee == wanted.assignee
        )
    organization: ColumnElement[str] = table.c.organizationId
    status: ColumnElement[str] = table.c.status
    if wanted.execution_id is not None:
        query = query.where(human_tasks.c.executionId == wanted.execution_id)
        # Expressions, so that SQLite uses the index of the execution.
        organization, status = organization.concat(""), status.concat("")
    if wanted.organization_id is not None:
        query = query.where(organization == wanted.organization_id)
    if after is not None:
        query = query.where(tuple_(*key) < tuple_(after.created_at, after.id))
    query = query.order_by(*(column.desc() for column in key)).limit(limit + 1)
    statuses = wanted.statuses or frozenset(TaskStatus)
    first, *others = (query.where(status == wanted_one) for wanted_one in sorted(statuses))
    if not others:
        return first
    # In subqueries, because SQLite accepts an order and a limit only there.
    merged = union_all(*(select(page.subquery()) for page in (first, *others))).subquery()
    return select(merged).order_by(merged.c.createdAt.desc(), merged.c.id.desc()).limit(limit + 1)


def _assignees(connection: Connection, task_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if task_ids:
        query = (
            select(task_assignees.c.taskId, task_assignees.c.assignee)
            .where(task_assignees.c.taskId.in_(task_ids))
            .order_by(task_assignees.c.taskId, task_assignees.c.assignee)
        )
        for row in connection.execute(query):
            found.setdefault(row.taskId, []).append(row.assignee)
    return found


def _task_of(
    row: Row[*tuple[Any, ...]], people: Sequence[str], answers: Sequence[TaskAnswer] = ()
) -> HumanTask:
    return HumanTask(
        id=row.id,
        execution_id=row.executionId,
        workflow_id=required_text_of(row.workflowId),
        workflow_name=row.workflowName,
        organization_id=row.organizationId,
        node_id=row.nodeId,
        node_label=text_of(row.nodeLabel),
        status=TaskStatus(row.status),
        message=row.message,
        form=row.form,
        assignees=people,
        required=row.required,
        approvals=row.approvals,
        rejections=row.rejections,
        approved=None if row.approved is None else bool(row.approved),
        created_at=row.createdAt,
        expires_at=row.expiresAt,
        ended_at=row.endedAt,
        reminders=row.reminders or 0,
        reminded_at=row.remindedAt,
        escalated_at=row.escalatedAt,
        next_reminder_at=row.nextReminderAt,
        escalates_at=row.escalatesAt,
        answers=answers,
    )
