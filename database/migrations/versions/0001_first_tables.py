"""First tables: missing tables of the main project, and tables of the service."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create tables and columns; existing ones do not change."""
    tables = set(sa.inspect(op.get_bind()).get_table_names())
    if "workflows" not in tables:
        _create_workflows()
    if "workflow_executions" not in tables:
        _create_executions()
    if "execution_logs" not in tables:
        _create_logs()
    _add_to_logs()
    _create_definitions()
    _create_runs()
    _create_the_rest()


def _create_workflows() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organizationId", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("tags", sa.Text),
        sa.Column("isPublic", sa.Integer),
        sa.Column("createdAt", sa.Text),
        sa.Column("updatedAt", sa.Text),
    )


def _create_executions() -> None:
    op.create_table(
        "workflow_executions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "workflowId", sa.Text, sa.ForeignKey("workflows.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("organizationId", sa.Text),
        sa.Column("status", sa.Text, server_default="pending"),
        sa.Column("triggerType", sa.Text, server_default="manual"),
        sa.Column("triggeredByName", sa.Text),
        sa.Column("versionNumber", sa.Integer),
        sa.Column("inputs", sa.Text),
        sa.Column("currentNodeId", sa.Text),
        sa.Column("nodeResults", sa.Text),
        sa.Column("finalOutput", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("createdAt", sa.Text),
        sa.Column("startedAt", sa.Text),
        sa.Column("completedAt", sa.Text),
    )


def _create_logs() -> None:
    op.create_table(
        "execution_logs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("nodeId", sa.Text),
        sa.Column("nodeType", sa.Text),
        sa.Column("nodeLabel", sa.Text),
        sa.Column("status", sa.Text),
        sa.Column("inputData", sa.Text),
        sa.Column("outputData", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("duration", sa.Integer),
        sa.Column("timestamp", sa.Text),
    )


def _add_to_logs() -> None:
    inspector = sa.inspect(op.get_bind())
    existing = {column["name"] for column in inspector.get_columns("execution_logs")}
    for name, kind in (
        ("attempt", sa.Integer),
        ("lastError", sa.Text),
        ("seq", sa.Integer),
        ("startSeq", sa.Integer),
        ("resultDetail", sa.Text),
        ("waitUntil", sa.Text),
        ("resumption", sa.Text),
        ("takenFrom", sa.Text),
    ):
        if name not in existing:
            op.add_column("execution_logs", sa.Column(name, kind))
    # Polling and cascading deletes select rows by execution.
    for table, column in (("execution_logs", "executionId"), ("workflow_executions", "workflowId")):
        indexes = inspector.get_indexes(table)
        if not any((index["column_names"] or [None])[0] == column for index in indexes):
            op.create_index(f"orchestrator_{table}_{column}", table, [column])


def _create_definitions() -> None:
    op.create_table(
        "orchestrator_definitions",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
    )


def _create_runs() -> None:
    op.create_table(
        "orchestrator_runs",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
            unique=True,
        ),
        sa.Column("organization", sa.Text, nullable=False, server_default=""),
        sa.Column(
            "definitionHash",
            sa.Text,
            sa.ForeignKey("orchestrator_definitions.hash"),
            nullable=False,
        ),
        sa.Column("workflowName", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, server_default="0"),
        sa.Column("totalNodes", sa.Integer, nullable=False),
        sa.Column("completedNodes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failedNodes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("skippedNodes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("claimableAt", sa.Text),
        sa.Column("recoveries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cancelRequestedAt", sa.Text),
        sa.Column("flowRunId", sa.Text),
        sa.Column("rerunOf", sa.Text),
        sa.Column("endedAt", sa.Text),
        sqlite_autoincrement=True,
    )
    for name, column in (("claimable", "claimableAt"), ("owned", "owner")):
        is_set = sa.text(f'"{column}" IS NOT NULL')
        op.create_index(
            f"orchestrator_runs_{name}",
            "orchestrator_runs",
            [column],
            sqlite_where=is_set,
            postgresql_where=is_set,
        )
    op.create_index("orchestrator_runs_ended", "orchestrator_runs", ["endedAt"])
    op.create_index("orchestrator_runs_definition", "orchestrator_runs", ["definitionHash"])


def _create_the_rest() -> None:
    op.create_table(
        "orchestrator_turns",
        sa.Column("organization", sa.Text, primary_key=True),
        sa.Column("turn", sa.Integer, nullable=False),
    )
    op.create_table(
        "orchestrator_idempotency_keys",
        sa.Column("organization", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("bodyHash", sa.Text, nullable=False),
        sa.Column("executionId", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
    )
    op.create_table(
        "orchestrator_facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
