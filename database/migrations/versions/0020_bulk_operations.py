"""Bulk operations: one action on many executions, with the outcome for each of them."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add two tables of the service; let the groups of failures be read from an index alone."""
    op.create_table(
        "orchestrator_bulk_operations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("definition", sa.Text),
        sa.Column("matched", sa.Integer, nullable=False),
        sa.Column("idempotencyKey", sa.Text),
        sa.Column("bodyHash", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("claimableAt", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("completedAt", sa.Text),
    )
    table = "orchestrator_bulk_operations"
    has_key = sa.text('"idempotencyKey" IS NOT NULL')
    op.create_index(
        f"{table}_key",
        table,
        ["organization", "idempotencyKey"],
        unique=True,
        sqlite_where=has_key,
        postgresql_where=has_key,
    )
    op.create_index(f"{table}_claimable", table, ["claimableAt"])
    op.create_table(
        "orchestrator_bulk_items",
        sa.Column(
            "bulkId",
            sa.Text,
            sa.ForeignKey("orchestrator_bulk_operations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("executionId", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("newExecutionId", sa.Text),
        sa.Column("error", sa.Text),
    )
    table = "orchestrator_bulk_items"
    op.create_index(f"{table}_status", table, ["bulkId", "status", "executionId"])
    op.drop_index("orchestrator_failures_of_organization", "orchestrator_failures")
    columns = ["organization", "fingerprint", "failedAt", "executionId", "rerunAs"]
    op.create_index("orchestrator_failures_of_organization", "orchestrator_failures", columns)
