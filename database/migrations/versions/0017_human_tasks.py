"""Human tasks: nodes that wait for people, their assignees and their answers."""

import json
import uuid
from typing import Any, cast

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
_NAMESPACE = uuid.UUID("4a1d2f0b-93f5-4f0e-8a63-2d0c53a9f5c4")
"""The namespace of ``database.executions.human_tasks``."""


def upgrade() -> None:
    """Add three tables of the service, with a task for each approval that waits now."""
    table = "orchestrator_tasks"
    op.create_table(
        table,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("organizationId", sa.Text),
        sa.Column("nodeId", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("form", sa.Text),
        sa.Column("required", sa.Integer, nullable=False),
        sa.Column("approvals", sa.Integer, nullable=False),
        sa.Column("rejections", sa.Integer, nullable=False),
        sa.Column("approved", sa.Integer),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("expiresAt", sa.Text),
        sa.Column("endedAt", sa.Text),
    )
    op.create_index(f"{table}_node", table, ["executionId", "nodeId"], unique=True)
    op.create_index(f"{table}_listed", table, ["status", "createdAt", "id"])
    op.create_index(
        f"{table}_of_organization", table, ["organizationId", "status", "createdAt", "id"]
    )
    table = "orchestrator_task_assignees"
    op.create_table(
        table,
        _task_id(),
        sa.Column("assignee", sa.Text, primary_key=True),
        sa.Column("organizationId", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
    )
    listed = ["assignee", "status", "createdAt", "taskId"]
    op.create_index(f"{table}_listed", table, listed)
    op.create_index(f"{table}_of_organization", table, ["organizationId", *listed])
    op.create_table(
        "orchestrator_task_answers",
        _task_id(),
        sa.Column("assignee", sa.Text, primary_key=True),
        sa.Column("approved", sa.Integer, nullable=False),
        sa.Column("data", sa.Text),
        sa.Column("answeredAt", sa.Text, nullable=False),
    )
    _add_waiting_approvals()


def _task_id() -> sa.Column[str]:
    return sa.Column(
        "taskId",
        sa.Text,
        sa.ForeignKey("orchestrator_tasks.id", ondelete="CASCADE"),
        primary_key=True,
    )


def _add_waiting_approvals() -> None:
    """Add the tasks of nodes that were parked by an earlier version."""
    connection = op.get_bind()
    waiting = connection.execute(
        sa.text(
            'SELECT l."executionId", l."nodeId", l."resultDetail", l."waitUntil",'
            ' coalesce(l."waitingSince", l."timestamp", \'\') AS since, e."organizationId"'
            ' FROM execution_logs l JOIN workflow_executions e ON e.id = l."executionId"'
            " WHERE l.status = 'waiting' AND l.\"nodeType\" = 'approval'"
            ' AND l.resumption IS NULL AND l."resultDetail" IS NOT NULL'
            ' AND l.id = l."executionId" || \':\' || l."nodeId"'
        )
    ).all()
    tasks = sa.table(
        "orchestrator_tasks",
        *(
            sa.column(name, sa.Text)
            for name in (
                *("id", "executionId", "organizationId", "nodeId", "status", "message"),
                *("required", "approvals", "rejections", "createdAt", "expiresAt"),
            )
        ),
    )
    rows = [
        {
            "id": str(uuid.uuid5(_NAMESPACE, f"{row.executionId}:{row.nodeId}")),
            "executionId": row.executionId,
            "organizationId": row.organizationId,
            "nodeId": row.nodeId,
            "status": "open",
            "message": _message(row.resultDetail),
            "required": 1,
            "approvals": 0,
            "rejections": 0,
            "createdAt": row.since,
            "expiresAt": row.waitUntil,
        }
        for row in waiting
    ]
    if rows:
        op.bulk_insert(tasks, rows)


def _message(detail: str) -> str | None:
    """Return the message of a result; ``None`` if it has none, or is encrypted."""
    found = json.loads(detail)
    message = cast("dict[str, Any]", found).get("message") if isinstance(found, dict) else None
    return message if isinstance(message, str) else None
