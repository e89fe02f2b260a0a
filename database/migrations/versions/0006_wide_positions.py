"""Numbers that are never given twice go on after 2,147,483,647, where PostgreSQL's integers end."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Widens columns of the service's own; those of SQLite are wide from the beginning."""
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
