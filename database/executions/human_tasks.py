"""Human tasks: the rows of the tasks of nodes that wait for people.

A task changes in the transaction that changes its node. Each transaction that answers a task first
locks the execution, so that only one answer decides.
"""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, select, update

from database.clock import to_text
from database.connection.engines import insert_or_ignore
from database.executions.hidden_waits import hidden_rows, read_data, stored_data
from database.executions.journal_records import NodeEnded
from database.records import Lease
from database.tables import executions
from database.waiting_tables import human_tasks, task_answers, task_assignees
from engine.human_tasks import TaskRequest, TaskStatus, decision
from engine.json_values import JsonValue, encode_json
from engine.parking import Resumption
from engine.request_errors import (
    AssigneeAnsweredError,
    InvalidAnswerError,
    TaskEndedError,
    TaskNeedsAssigneesError,
)
from engine.status import NodeStatus

_NAMESPACE = uuid.UUID("4a1d2f0b-93f5-4f0e-8a63-2d0c53a9f5c4")  # arbitrary, but constant


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one person to a task; ``assignee`` is empty if the person is not known."""

    approved: bool
    data: dict[str, JsonValue] | None = None
    assignee: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The effect of an answer on its task."""

    execution_id: str
    node_id: str
    resumption: Resumption | None
    """The resumption of the node; ``None`` if the task needs further answers."""


def task_id_of(execution_id: str, node_id: str) -> str:
    """Return the id of the task of a node run; a node run has at most one."""
    return str(uuid.uuid5(_NAMESPACE, f"{execution_id}:{node_id}"))


def start_tasks(connection: Connection, lease: Lease, ended: Sequence[NodeEnded], now: str) -> None:
    """Store the tasks of nodes that are now parked; a repeated write stores no task twice."""
    for node in ended:
        if node.task is not None:
            _start(connection, lease.execution_id, node, node.task, now)


def _start(
    connection: Connection, execution_id: str, node: NodeEnded, task: TaskRequest, now: str
) -> None:
    organization = connection.scalar(
        select(executions.c.organizationId).where(executions.c.id == execution_id)
    )
    row = {
        "id": task_id_of(execution_id, node.node_id),
        "executionId": execution_id,
        "organizationId": organization,
        "nodeId": node.node_id,
        "status": TaskStatus.OPEN,
        "message": task.message,
        "form": None if task.form is None else encode_json(dict(task.form)),
        "required": task.required,
        "approvals": 0,
        "rejections": 0,
        "createdAt": now,
        "expiresAt": node.wait_until,
        **_timers_of(task, now),
    }
    dialect = connection.dialect.name
    stored = connection.execute(insert_or_ignore(dialect, human_tasks), row)
    if stored.rowcount == 1 and task.assignees:
        shared = {"organizationId": organization, "status": TaskStatus.OPEN, "createdAt": now}
        people = [{"taskId": row["id"], "assignee": name, **shared} for name in task.assignees]
        connection.execute(insert_or_ignore(dialect, task_assignees), people)


def _timers_of(task: TaskRequest, now: str) -> dict[str, object]:
    """Return the columns of the reminders and the escalation of a new task."""
    start, remind, escalate = datetime.fromisoformat(now), task.reminders, task.escalation
    next_reminder_at = escalates_at = None
    if remind is not None:
        next_reminder_at = to_text(start + timedelta(seconds=remind.seconds))
    if escalate is not None:
        escalates_at = to_text(start + timedelta(seconds=escalate.seconds))
    return {
        "remindEveryMs": None if remind is None else max(1, round(remind.seconds * 1000)),
        "remindersLeft": None if remind is None else remind.times,
        "reminders": 0,
        "nextReminderAt": next_reminder_at,
        "escalatesAt": escalates_at,
        "escalationAssignees": None if escalate is None else json.dumps(escalate.assignees),
        "dueAt": min(filter(None, (next_reminder_at, escalates_at)), default=None),
    }


def end_tasks(connection: Connection, lease: Lease, ended: Sequence[NodeEnded], now: str) -> None:
    """End the open tasks of nodes that were parked and have now ended without an answer."""
    parked = {
        task_id_of(lease.execution_id, node.node_id): node.status
        for node in ended
        if node.waited_ms is not None and node.status != NodeStatus.WAITING
    }
    for task_id in _open_tasks(connection, human_tasks.c.id.in_(parked)) if parked else ():
        expired = parked[task_id] == NodeStatus.ERROR
        _end(connection, [task_id], TaskStatus.EXPIRED if expired else TaskStatus.CANCELLED, now)


def expire_tasks(
    connection: Connection, execution_id: str, node_ids: Collection[str], now: str
) -> None:
    """End the open tasks of nodes whose time limit has passed."""
    ids = [task_id_of(execution_id, node_id) for node_id in node_ids]
    if found := _open_tasks(connection, human_tasks.c.id.in_(ids)):
        _end(connection, found, TaskStatus.EXPIRED, now)


def cancel_tasks(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Cancel the open tasks of executions that end."""
    found = _open_tasks(connection, human_tasks.c.executionId.in_(execution_ids))
    if found:
        _end(connection, found, TaskStatus.CANCELLED, now)


def _open_tasks(connection: Connection, condition: ColumnElement[bool]) -> Sequence[str]:
    query = select(human_tasks.c.id).where(condition, human_tasks.c.status == TaskStatus.OPEN)
    return connection.scalars(query).all()


def _end(connection: Connection, ids: Sequence[str], status: TaskStatus, now: str) -> None:
    of_tasks = human_tasks.c.id.in_(ids)
    ended = {"status": status, "endedAt": now}
    ended |= dict.fromkeys(("dueAt", "nextReminderAt", "escalatesAt"))
    connection.execute(update(human_tasks).where(of_tasks).values(ended))
    assigned = task_assignees.c.taskId.in_(ids)
    connection.execute(update(task_assignees).where(assigned).values(status=status))


def answer_node(
    connection: Connection, execution_id: str, node_id: str, resumption: Resumption, now: str
) -> None:
    """Record that ``resume`` answers the task of a node, if it has an open one.

    Raises:
        TaskNeedsAssigneesError: If the task needs the approvals of several people.
    """
    task_id = task_id_of(execution_id, node_id)
    row = connection.execute(
        select(human_tasks.c.required).where(
            human_tasks.c.id == task_id, human_tasks.c.status == TaskStatus.OPEN
        )
    ).first()
    if row is None:
        return
    if row.required > 1:
        raise TaskNeedsAssigneesError(node_id, task_id, row.required)
    data = None if resumption.data is None else dict(resumption.data)
    answer_task(connection, task_id, Answer(resumption.approved, data), now)


def answer_task(connection: Connection, task_id: str, answer: Answer, now: str) -> Decision:
    """Record an answer, and end the task if it decides. The caller has locked the execution.

    Raises:
        TaskEndedError: If the task is not open, or its time limit has passed.
        InvalidAnswerError: If the answer lacks an assignee, or has a wrong one.
        AssigneeAnsweredError: If the same assignee has answered before.
    """
    task = connection.execute(select(human_tasks).where(human_tasks.c.id == task_id)).one()
    if task.status != TaskStatus.OPEN:
        raise TaskEndedError(task_id, task.status)
    if task.expiresAt is not None and task.expiresAt <= now:
        raise TaskEndedError(task_id, TaskStatus.EXPIRED)
    hidden = bool(hidden_rows(connection, [f"{task.executionId}:{task.nodeId}"]))
    of_task = task_assignees.c.taskId == task_id
    people = connection.scalars(select(task_assignees.c.assignee).where(of_task)).all()
    check_assignee(answer.assignee, people, task.required)
    row = {
        "taskId": task_id,
        "assignee": answer.assignee,
        "approved": int(answer.approved),
        "data": None
        if answer.data is None
        else stored_data(connection, answer.data, hidden=hidden),
        "answeredAt": now,
    }
    stored = connection.execute(insert_or_ignore(connection.dialect.name, task_answers), row)
    if stored.rowcount != 1:
        raise AssigneeAnsweredError(task_id, answer.assignee)
    approvals = task.approvals + answer.approved
    rejections = task.rejections + (not answer.approved)
    approved = decision(approvals, rejections, task.required, len(people))
    connection.execute(
        update(human_tasks)
        .where(human_tasks.c.id == task_id)
        .values(
            approvals=approvals,
            rejections=rejections,
            approved=None if approved is None else int(approved),
        )
    )
    if approved is None:
        return Decision(task.executionId, task.nodeId, None)
    _end(connection, [task_id], TaskStatus.COMPLETED, now)
    data = _merged_data(connection, task_id, hidden=hidden)
    return Decision(task.executionId, task.nodeId, Resumption(approved, data))


def check_assignee(assignee: str, people: Sequence[str], required: int) -> None:
    """Check that ``assignee``, or ``""``, may answer a task of these people.

    Raises:
        InvalidAnswerError: If it is not one of them, or is missing but required.
    """
    if assignee and people and assignee not in people:
        raise InvalidAnswerError.of(
            "unknown_assignee", f"'{assignee}' is not an assignee of the task", "/assignee"
        )
    if not assignee and required > 1:
        raise InvalidAnswerError.of(
            "missing_assignee",
            f"the task needs the approvals of {required} people, so the answer needs an assignee",
            "/assignee",
        )


def _merged_data(
    connection: Connection, task_id: str, *, hidden: bool
) -> dict[str, JsonValue] | None:
    """Return the data of all answers, in their order; later fields take precedence."""
    query = (
        select(task_answers.c.data)
        .where(task_answers.c.taskId == task_id, task_answers.c.data.is_not(None))
        .order_by(task_answers.c.answeredAt, task_answers.c.assignee)
    )
    found = [read_data(connection, text, hidden=hidden) for text in connection.scalars(query)]
    return {key: value for data in found for key, value in data.items()} if found else None
