"""Requests of webhook deliveries: headers, query and method, for templates."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add a table of the service."""
    op.create_table(
        "orchestrator_requests",
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("request", sa.Text, nullable=False),
    )
