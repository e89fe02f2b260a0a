"""Foreign ends: executions that another program has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add a nullable column to a table of the service."""
    op.add_column("orchestrator_runs", sa.Column("endedElsewhere", sa.Integer))
