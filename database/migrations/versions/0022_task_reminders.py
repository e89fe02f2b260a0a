"""Task reminders: reminders and escalations of tasks, and several callbacks of one execution."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_KEPT = (
    *("executionId", "host", "url", "attempts", "dueAt", "owner", "lastAttemptAt", "lastStatus"),
    *("lastError", "deliveredAt", "abandonedAt"),
)


def upgrade() -> None:
    """Add columns to the tasks; give each callback an id, which is its primary key."""
    for name, kind in (
        ("remindEveryMs", sa.BigInteger),
        ("remindersLeft", sa.Integer),
        ("reminders", sa.Integer),
        ("nextReminderAt", sa.Text),
        ("remindedAt", sa.Text),
        ("escalatesAt", sa.Text),
        ("escalatedAt", sa.Text),
        ("escalationAssignees", sa.Text),
        ("dueAt", sa.Text),
    ):
        op.add_column("orchestrator_tasks", sa.Column(name, kind))
    is_set = sa.text('"dueAt" IS NOT NULL')
    op.create_index(
        "orchestrator_tasks_due",
        "orchestrator_tasks",
        ["dueAt"],
        sqlite_where=is_set,
        postgresql_where=is_set,
    )
    old, new = "orchestrator_callbacks", "orchestrator_new_callbacks"
    op.create_table(
        new,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "executionId",
            sa.Text,
            sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("createdAt", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("dueAt", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("lastAttemptAt", sa.Text),
        sa.Column("lastStatus", sa.Integer),
        sa.Column("lastError", sa.Text),
        sa.Column("deliveredAt", sa.Text),
        sa.Column("abandonedAt", sa.Text),
    )
    columns = ", ".join(f'"{name}"' for name in _KEPT)
    op.execute(f'INSERT INTO {new} (id, {columns}) SELECT "executionId", {columns} FROM {old}')  # noqa: S608 - constants
    op.drop_table(old)
    op.rename_table(new, old)
    for name, indexed in (("due", ["dueAt", "host"]), ("of_host", ["host", "dueAt"])):
        op.create_index(f"{old}_{name}", old, indexed, sqlite_where=is_set, postgresql_where=is_set)
    op.create_index(f"{old}_execution", old, ["executionId"])
