"""End errors: the reason of an end that could not be stored."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add a nullable column to the executions of the service."""
    op.add_column("orchestrator_runs", sa.Column("endError", sa.Text))
