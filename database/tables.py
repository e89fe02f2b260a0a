"""The tables: three that the main project owns, two of the service's own.

Columns of the main project's that the service does not read are not listed; it never writes them.
"""

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Table, Text

metadata = MetaData()

workflows = Table(
    "workflows",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organizationId", Text),
    Column("name", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("tags", Text),
    Column("createdAt", Text),
    Column("updatedAt", Text),
)

executions = Table(
    "workflow_executions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workflowId", Text, ForeignKey("workflows.id", ondelete="CASCADE"), nullable=False),
    Column("organizationId", Text),
    Column("status", Text, server_default="pending"),
    Column("triggerType", Text, server_default="manual"),
    Column("inputs", Text),
    Column("currentNodeId", Text),
    Column("nodeResults", Text),
    Column("finalOutput", Text),
    Column("error", Text),
    Column("createdAt", Text),
    Column("startedAt", Text),
    Column("completedAt", Text),
)

logs = Table(
    "execution_logs",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("nodeId", Text),
    Column("nodeType", Text),
    Column("nodeLabel", Text),
    Column("status", Text),
    Column("inputData", Text),
    Column("outputData", Text),
    Column("error", Text),
    Column("duration", Integer),
    Column("timestamp", Text),
    # The service's own, added to the main project's table as nullable columns:
    Column("attempt", Integer),
    Column("lastError", Text),
    Column("seq", Integer),
    Column("startSeq", Integer),
    Column("resultDetail", Text),
)
"""``id`` is ``executionId:nodeId``: one row a node, by construction. ``resultDetail`` is what the
handler returned besides ``outputData``; ``seq`` is the execution's sequence number at the row's
last change, ``startSeq`` at its start; ``lastError`` is why the attempt before failed."""

definitions = Table(
    "orchestrator_definitions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
)
"""Workflow documents as executions saw them at submission, by the SHA-256 of their text."""

runs = Table(
    "orchestrator_runs",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("definitionHash", Text, nullable=False),
    Column("workflowName", Text, nullable=False),
    Column("seq", Integer, nullable=False, server_default="0"),
    Column("totalNodes", Integer, nullable=False),
    Column("completedNodes", Integer, nullable=False, server_default="0"),
    Column("failedNodes", Integer, nullable=False, server_default="0"),
    Column("skippedNodes", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("leaseUntil", Text),
    Column("claims", Integer, nullable=False, server_default="0"),
    Column("notBefore", Text),
    Column("cancelRequestedAt", Text),
    Column("flowRunId", Text),
    Column("endedAt", Text),
    # A position is never given twice, so that "oldest first" holds after deletions too.
    sqlite_autoincrement=True,
)
"""The service's bookkeeping of one execution: its place in the queue, its lease, its progress.

The status stands in ``workflow_executions`` alone. ``endedAt`` is set with a terminal status, so
that the index on the rows without it is the queue."""

open_runs = Index(
    "orchestrator_runs_open",
    runs.c.position,
    sqlite_where=runs.c.endedAt.is_(None),
    postgresql_where=runs.c.endedAt.is_(None),
)
