"""Child executions: executions that nodes of other executions called."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a table of the service and a nullable column."""
    existing = {
        column["name"] for column in sa.inspect(op.get_bind()).get_columns("execution_logs")
    }
    if "childExecutionId" not in existing:
        op.add_column("execution_logs", sa.Column("childExecutionId", sa.Text))
    op.create_table(
        "orchestrator_children",
        sa.Column("executionId", sa.Text, primary_key=True),
        sa.Column(
            "parentId", sa.Text, sa.ForeignKey("workflow_executions.id", ondelete="SET NULL")
        ),
        sa.Column("nodeRow", sa.Text, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("rootId", sa.Text, nullable=False),
        sa.Column("toldAt", sa.Text),
    )
    op.create_index("orchestrator_children_of_parent", "orchestrator_children", ["parentId"])
    op.create_index("orchestrator_children_of_root", "orchestrator_children", ["rootId"])
    untold = sa.text('"toldAt" IS NULL')
    op.create_index(
        "orchestrator_children_untold",
        "orchestrator_children",
        ["executionId"],
        sqlite_where=untold,
        postgresql_where=untold,
    )
