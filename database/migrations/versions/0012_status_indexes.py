"""Indexes for lists by status and of workflows, for the last node runs, and for old keys."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

EXECUTIONS = "workflow_executions"
LOGS = "execution_logs"
REPLACED = f"orchestrator_{LOGS}_executionId"
# The expressions of the queries. Other programs store rows without these values.
STATUS = sa.text("coalesce(status, 'pending')")
CREATED = sa.text("coalesce(\"createdAt\", '')")
STARTED = sa.text('coalesce("startSeq", 0)')


def upgrade() -> None:
    """Add seven indexes, and drop one that another replaces."""
    existing = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(LOGS)}
    op.create_index("orchestrator_executions_status", EXECUTIONS, [STATUS, CREATED])
    for name, column in (("organization", "organizationId"), ("workflow", "workflowId")):
        columns = [column, STATUS, CREATED]
        op.create_index(f"orchestrator_executions_{name}_status", EXECUTIONS, columns)
    newest = [sa.text(f"{CREATED} DESC"), "id"]
    op.create_index("orchestrator_workflows_created", "workflows", newest)
    # Without the id, because the longest id and organization exceed an index row of PostgreSQL.
    columns = ["organizationId", sa.text(f"{CREATED} DESC")]
    op.create_index("orchestrator_workflows_organization", "workflows", columns)
    columns = ["executionId", STARTED, "timestamp", "id"]
    op.create_index("orchestrator_logs_started", LOGS, columns)
    if REPLACED in existing:
        op.drop_index(REPLACED, LOGS)
    keys = "orchestrator_idempotency_keys"
    op.create_index(f"{keys}_created", keys, ["createdAt"])
