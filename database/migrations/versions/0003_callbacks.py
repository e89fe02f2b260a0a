"""Callbacks: receivers that are notified of the end of an execution."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table of callbacks."""
    op.create_table(
        "orchestrator_callbacks",
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("dueAt", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("lastAttemptAt", sa.Text),
        sa.Column("lastStatus", sa.Integer),
        sa.Column("lastError", sa.Text),
        sa.Column("deliveredAt", sa.Text),
        sa.Column("givenUpAt", sa.Text),
    )
    is_set = sa.text('"dueAt" IS NOT NULL')
    for name, columns in (("due", ["dueAt", "host"]), ("of_host", ["host", "dueAt"])):
        op.create_index(
            f"orchestrator_callbacks_{name}",
            "orchestrator_callbacks",
            columns,
            sqlite_where=is_set,
            postgresql_where=is_set,
        )
