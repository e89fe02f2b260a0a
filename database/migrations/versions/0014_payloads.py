"""Large values: stored once in chunks, by the hash of their text, with a view of the texts."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

JOINED = """
CREATE VIEW orchestrator_payload_texts AS
SELECT hash, characters, (
    SELECT {joined} FROM (
        SELECT c.text FROM orchestrator_payload_parts p
        JOIN orchestrator_chunks c ON c.hash = p."chunkHash"
        WHERE p."payloadHash" = orchestrator_payloads.hash ORDER BY p.position
    ) AS parts
) AS text FROM orchestrator_payloads
"""


def upgrade() -> None:
    """Add four tables and a view of the service."""
    op.create_table(
        "orchestrator_payloads",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("characters", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("preview", sa.Text, nullable=False),
    )
    op.create_table(
        "orchestrator_chunks",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "orchestrator_payload_parts",
        sa.Column("payloadHash", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("chunkHash", sa.Text, nullable=False),
    )
    op.create_index(
        "orchestrator_payload_parts_of_chunk", "orchestrator_payload_parts", ["chunkHash"]
    )
    op.create_table(
        "orchestrator_payload_uses",
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("payloadHash", sa.Text, primary_key=True),
    )
    op.create_index(
        "orchestrator_payload_uses_of_payload", "orchestrator_payload_uses", ["payloadHash"]
    )
    postgres = op.get_bind().dialect.name == "postgresql"
    op.execute(
        JOINED.format(joined="string_agg(text, '')" if postgres else "group_concat(text, '')")
    )
