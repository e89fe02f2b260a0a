"""Standard names for the tables and columns of the service."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = (
    ("orchestrator_facts", "orchestrator_metadata"),
    ("orchestrator_turns", "orchestrator_fairness"),
)
COLUMNS = (
    ("orchestrator_fairness", "turn", "lastServed"),
    ("orchestrator_children", "toldAt", "notifiedAt"),
    ("orchestrator_children", "nodeRow", "nodeRunId"),
    ("orchestrator_callbacks", "givenUpAt", "abandonedAt"),
    ("execution_logs", "takenFrom", "reusedFrom"),
)


def upgrade() -> None:
    """Rename tables, columns and one index; no data changes."""
    op.drop_index("orchestrator_children_untold", "orchestrator_children")
    for old, new in TABLES:
        op.rename_table(old, new)
    for table, old, new in COLUMNS:
        # SQLite and PostgreSQL share this statement; alembic would copy the table on SQLite.
        op.execute(f'ALTER TABLE {table} RENAME COLUMN "{old}" TO "{new}"')
    unnotified = sa.text('"notifiedAt" IS NULL')
    op.create_index(
        "orchestrator_children_unnotified",
        "orchestrator_children",
        ["executionId"],
        sqlite_where=unnotified,
        postgresql_where=unnotified,
    )
