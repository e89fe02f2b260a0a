"""Indexes for lists of executions: all, of an organization, and of a workflow."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TABLE = "workflow_executions"
# Rows of the main project may lack ``createdAt``, and PostgreSQL and SQLite sort NULL differently.
CREATED = sa.text("coalesce(\"createdAt\", '')")
REPLACED = f"orchestrator_{TABLE}_workflowId"


def upgrade() -> None:
    """Add three indexes and drop one that the third replaces."""
    existing = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(TABLE)}
    op.create_index("orchestrator_executions_created", TABLE, [CREATED])
    op.create_index("orchestrator_executions_organization", TABLE, ["organizationId", CREATED])
    op.create_index("orchestrator_executions_workflow", TABLE, ["workflowId", CREATED])
    if REPLACED in existing:
        op.drop_index(REPLACED, TABLE)
