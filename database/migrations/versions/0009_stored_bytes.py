"""Executions count the size of the data that they store."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the counter; executions that began before count from here on."""
    op.add_column("orchestrator_runs", sa.Column("storedBytes", sa.BigInteger))
