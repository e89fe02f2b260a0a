"""Times of node runs, and failed attempts, which count for their retries."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add nullable columns."""
    existing = {
        column["name"] for column in sa.inspect(op.get_bind()).get_columns("execution_logs")
    }
    for name, kind in (
        ("startedAt", sa.Text),
        ("endedAt", sa.Text),
        ("waitedMs", sa.BigInteger),
        ("waitingSince", sa.Text),
        ("failedAttempts", sa.Integer),
    ):
        if name not in existing:
            op.add_column("execution_logs", sa.Column(name, kind))
