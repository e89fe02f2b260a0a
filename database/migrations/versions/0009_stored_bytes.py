"""Stored bytes: the size of the data that executions store."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the counter; older executions count from 0."""
    op.add_column("orchestrator_runs", sa.Column("storedBytes", sa.BigInteger))
