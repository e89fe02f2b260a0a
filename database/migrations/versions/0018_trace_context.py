"""Trace context: the place in a trace from which an execution was started."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column; earlier executions have no trace context."""
    op.add_column("orchestrator_runs", sa.Column("traceContext", sa.Text))
