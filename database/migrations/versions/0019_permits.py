"""Permits: which node runs may run at the same time, in all services together."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create the table; no node run has requested a permit yet."""
    op.create_table(
        "orchestrator_permits",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("nodeRunId", sa.Text, nullable=False),
        sa.Column("executionId", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("grantedAt", sa.Text),
        sa.Column("orphanedAt", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("orchestrator_permits_order", "orchestrator_permits", ["name", "position"])
    op.create_index("orchestrator_permits_request", "orchestrator_permits", ["request"])
    op.create_index("orchestrator_permits_execution", "orchestrator_permits", ["executionId"])
