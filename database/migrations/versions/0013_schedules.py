"""Schedules: schedule nodes of saved workflows, and the executions that they started."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add three tables of the service."""
    op.create_table(
        "orchestrator_schedules",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("workflowId", sa.Text, nullable=False),
        sa.Column("nodeId", sa.Text, nullable=False),
        sa.Column("settings", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("nextAt", sa.Text),
        sa.Column("dueAt", sa.Text),
        sa.Column("handledAt", sa.Text, nullable=False),
        sa.Column("blockedBy", sa.Text),
        sa.Column("pausedAt", sa.Text),
        sa.Column("lastInstant", sa.Text),
        sa.Column("lastExecutionId", sa.Text),
        sa.Column("lastSkippedInstant", sa.Text),
        sa.Column("lastSkipReason", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
    )
    table = "orchestrator_schedules"
    op.create_index("orchestrator_schedules_of_workflow", table, ["workflowId", "nodeId"])
    op.create_index("orchestrator_schedules_handled", table, ["handledAt"])
    for name, column in (("due", "dueAt"), ("blocked", "blockedBy")):
        has_value = sa.text(f'"{column}" IS NOT NULL')
        op.create_index(
            f"orchestrator_schedules_{name}",
            table,
            [column],
            sqlite_where=has_value,
            postgresql_where=has_value,
        )
    op.create_table(
        "orchestrator_schedule_runs",
        sa.Column("scheduleId", sa.Text, primary_key=True),
        sa.Column("instant", sa.Text, primary_key=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("isOpen", sa.Integer),
    )
    table = "orchestrator_schedule_runs"
    op.create_index("orchestrator_schedule_runs_execution", table, ["executionId"], unique=True)
    is_open = sa.text('"isOpen" = 1')
    op.create_index(
        "orchestrator_schedule_runs_open",
        table,
        ["scheduleId"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "orchestrator_workflow_versions",
        sa.Column("workflowId", sa.Text, primary_key=True),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text),
    )
