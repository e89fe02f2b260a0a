"""Which executions another program has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds a nullable column to a table of the service's own."""
    op.add_column("orchestrator_runs", sa.Column("endedElsewhere", sa.Integer))
