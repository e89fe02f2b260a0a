"""Failures: failed executions with their fingerprints, and the runs of failure workflows."""

import sqlalchemy as sa
from alembic import op

from engine.failures import fingerprint_of, normalized_message

revision = "0016"
down_revision = "0015"

BATCH_SIZE = 500
FAILED = sa.text(
    """
    SELECT r.position, e.id, r.organization, e."workflowId", e.error, r."endedAt", (
        SELECT l.id FROM execution_logs l
        WHERE l."executionId" = e.id AND l.status = 'error' ORDER BY l.seq DESC LIMIT 1
    ) AS row
    FROM orchestrator_runs r JOIN workflow_executions e ON e.id = r."executionId"
    WHERE r.position > :after AND e.status = 'failed' AND r."endedAt" IS NOT NULL
    ORDER BY r.position LIMIT :most
    """
)
NODE = sa.text('SELECT "nodeId", "nodeType", error FROM execution_logs WHERE id = :row')


def upgrade() -> None:
    """Add a table and a column of the service; record the executions that have failed before."""
    op.add_column("orchestrator_runs", sa.Column("failureOf", sa.Text))
    failures = op.create_table(
        "orchestrator_failures",
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("workflowId", sa.Text, nullable=False),
        sa.Column("nodeId", sa.Text),
        sa.Column("nodeType", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("failedAt", sa.Text, nullable=False),
        sa.Column("failureWorkflowId", sa.Text),
        sa.Column("failureExecutionId", sa.Text),
        sa.Column("failureError", sa.Text),
        sa.Column("rerunAs", sa.Text),
    )
    table = "orchestrator_failures"
    columns = ["organization", "fingerprint", "failedAt", "executionId"]
    op.create_index("orchestrator_failures_of_organization", table, columns)
    op.create_index("orchestrator_failures_execution", table, ["failureExecutionId"], unique=True)
    connection, after = op.get_bind(), 0
    while rows := connection.execute(FAILED, {"after": after, "most": BATCH_SIZE}).all():
        values: list[dict[str, object]] = []
        for row in rows:
            node = connection.execute(NODE, {"row": row.row}).first()
            node_id, node_type, error = (None, None, None) if node is None else node
            message = normalized_message(str(error or row.error or ""))
            fingerprint = fingerprint_of(row.workflowId, node_id, node_type, message)
            values.append(
                {
                    "executionId": row.id,
                    "organization": row.organization,
                    "workflowId": row.workflowId,
                    "nodeId": node_id,
                    "nodeType": node_type,
                    "fingerprint": fingerprint,
                    "message": message,
                    "failedAt": row.endedAt,
                }
            )
        connection.execute(failures.insert(), values)
        after = rows[-1].position
