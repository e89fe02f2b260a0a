"""Dispatches: which flow run of a work pool is to run an execution."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; no execution has been dispatched yet."""
    op.add_column("orchestrator_runs", sa.Column("dispatchAttempt", sa.Integer))
    op.add_column("orchestrator_runs", sa.Column("dispatchedAt", sa.Text))
    op.add_column("orchestrator_runs", sa.Column("dispatchFlowRunId", sa.Text))
