"""Tables of waiting nodes: the tasks that people answer, and the events that nodes wait for."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from database.tables import Number, metadata

human_tasks = Table(
    "orchestrator_tasks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("executionId", Text, nullable=False),
    Column("organizationId", Text),
    Column("nodeId", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Text),
    Column("form", Text),
    Column("required", Integer, nullable=False),
    Column("approvals", Integer, nullable=False),
    Column("rejections", Integer, nullable=False),
    Column("approved", Integer),
    Column("createdAt", Text, nullable=False),
    Column("expiresAt", Text),
    Column("endedAt", Text),
    Column("remindEveryMs", BigInteger),
    Column("remindersLeft", Integer),
    Column("reminders", Integer),
    Column("nextReminderAt", Text),
    Column("remindedAt", Text),
    Column("escalatesAt", Text),
    Column("escalatedAt", Text),
    Column("escalationAssignees", Text),
    Column("dueAt", Text),
)
"""Tasks: one for each node run that waits, or waited, for people.

The transaction that parks the node stores the task. The one that resumes, cancels or fails the node
ends it. ``nodeId`` is the key of the node run, such as ``ask[3]`` in a loop. ``dueAt`` is the time
of the next reminder or of the escalation; ``escalationAssignees`` is JSON."""

task_assignees = Table(
    "orchestrator_task_assignees",
    metadata,
    Column("taskId", Text, primary_key=True),
    Column("assignee", Text, primary_key=True),
    Column("organizationId", Text),
    Column("status", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
)
"""The people who may answer a task. The other columns are copies for the lists of one person."""

task_answers = Table(
    "orchestrator_task_answers",
    metadata,
    Column("taskId", Text, primary_key=True),
    Column("assignee", Text, primary_key=True),
    Column("approved", Integer, nullable=False),
    Column("data", Text),
    Column("answeredAt", Text, nullable=False),
)
"""Answers: one of each assignee, or one with an empty ``assignee``. ``data`` is JSON."""

event_waits = Table(
    "orchestrator_event_waits",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("executionId", Text, nullable=False),
    Column("nodeId", Text, nullable=False),
    Column("organization", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
)
"""Node runs that wait for an event now, in the order in which they began to wait.

The transaction that parks the node stores the row. The one that resumes, cancels or fails the node
deletes it. ``organization`` is empty if the execution has none."""

external_events = Table(
    "orchestrator_external_events",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("organization", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", Text),
    Column("status", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("lastPosition", BigInteger),
    Column("idempotencyKey", Text),
    Column("bodyHash", Text),
    Column("createdAt", Text, nullable=False),
    Column("expiresAt", Text, nullable=False),
)
"""Events from outside. ``payload`` is JSON, and only events that are not delivered yet have it.

While the status is ``delivering``, the waits up to ``lastPosition`` receive the event. The row is
deleted after ``expiresAt``."""
