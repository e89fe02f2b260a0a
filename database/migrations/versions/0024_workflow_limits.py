"""Workflow limits: how many executions of their workflow documents allow at the same time."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column; the documents of earlier executions were not read for a limit."""
    op.add_column("orchestrator_runs", sa.Column("maxConcurrentExecutions", sa.Integer))
    may_start = sa.text('"maxConcurrentExecutions" > 0 AND "claimableAt" IS NOT NULL')
    op.create_index(
        "orchestrator_runs_limited",
        "orchestrator_runs",
        ["maxConcurrentExecutions", "claimableAt"],
        sqlite_where=may_start,
        postgresql_where=may_start,
    )
