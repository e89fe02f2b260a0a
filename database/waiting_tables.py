"""Tables of waiting nodes: the tasks that people answer."""

from sqlalchemy import Column, Integer, Table, Text

from database.tables import metadata

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
)
"""Tasks: one for each node run that waits, or waited, for people.

The transaction that parks the node stores the task. The one that resumes, cancels or fails the node
ends it. ``nodeId`` is the key of the node run, such as ``ask[3]`` in a loop."""

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
