"""Events of executions, and the progress that handlers report."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a table of the service and two nullable columns."""
    existing = {
        column["name"] for column in sa.inspect(op.get_bind()).get_columns("execution_logs")
    }
    for name, kind in (("nodePercentage", sa.Integer), ("nodeMessage", sa.Text)):
        if name not in existing:
            op.add_column("execution_logs", sa.Column(name, kind))
    op.create_table(
        "orchestrator_events",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("status", sa.Text),
        sa.Column("currentNodeId", sa.Text),
        sa.Column("completedNodes", sa.Integer, nullable=False),
        sa.Column("failedNodes", sa.Integer, nullable=False),
        sa.Column("skippedNodes", sa.Integer, nullable=False),
        sa.Column("nodeId", sa.Text),
        sa.Column("nodeStatus", sa.Text),
        sa.Column("attempt", sa.Integer),
        sa.Column("lastError", sa.Text),
        sa.Column("nodePercentage", sa.Integer),
        sa.Column("nodeMessage", sa.Text),
        sa.UniqueConstraint("executionId", "seq", name="orchestrator_events_of_execution"),
        sqlite_autoincrement=True,
    )
