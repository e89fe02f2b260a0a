"""Kept events: indexes for the lists of events that no node has received yet."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add an index for the events of one organization, and one for those of all."""
    table = "orchestrator_external_events"
    is_kept = sa.text("status = 'kept'")
    # SQLite prefers an index that begins with a compared column, and PostgreSQL the smaller one.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, columns in (
        ("listed", ["status", "position"] if is_sqlite else ["position"]),
        ("of_organization", ["organization", "position"]),
    ):
        op.create_index(
            f"{table}_{name}", table, columns, sqlite_where=is_kept, postgresql_where=is_kept
        )
