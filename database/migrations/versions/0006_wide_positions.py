"""Wide positions: numbers that are never reused may exceed 2,147,483,647 on PostgreSQL."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Widen columns of the service on PostgreSQL; SQLite's columns are always wide."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in (
        ("orchestrator_events", "position"),
        ("orchestrator_runs", "position"),
        ("orchestrator_turns", "turn"),
    ):
        op.alter_column(table, column, type_=sa.BigInteger)
    for table in ("orchestrator_events", "orchestrator_runs"):
        op.execute(f"ALTER SEQUENCE {table}_position_seq AS BIGINT")
