"""External events: events from outside, and the node runs that wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add two tables of the service."""
    wide = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    table = "orchestrator_event_waits"
    op.create_table(
        table,
        sa.Column("position", wide, primary_key=True, autoincrement=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("nodeId", sa.Text, nullable=False),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"{table}_node", table, ["executionId", "nodeId"], unique=True)
    matched = ["organization", "name", "key", "position"]
    op.create_index(f"{table}_matched", table, matched)
    table = "orchestrator_external_events"
    op.create_table(
        table,
        sa.Column("position", wide, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("lastPosition", sa.BigInteger),
        sa.Column("idempotencyKey", sa.Text),
        sa.Column("bodyHash", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("expiresAt", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"{table}_id", table, ["id"], unique=True)
    has_key = sa.text('"idempotencyKey" IS NOT NULL')
    op.create_index(
        f"{table}_idempotency",
        table,
        ["organization", "idempotencyKey"],
        unique=True,
        sqlite_where=has_key,
        postgresql_where=has_key,
    )
    waiting = ["organization", "name", "key", "status", "position"]
    op.create_index(f"{table}_matched", table, waiting)
    op.create_index(f"{table}_kept", table, ["status", "organization"])
    op.create_index(f"{table}_expired", table, ["expiresAt"])
