"""The tables: three that the main project owns, two of the service's own.

Columns of the main project's that the service does not read are not listed; it never writes them.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

_Number = BigInteger().with_variant(Integer, "sqlite")
"""Of what is never given twice. SQLite counts up in columns of ``INTEGER`` only, and as far."""

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
    Column("waitUntil", Text),
    Column("resumption", Text),
    Column("reusedFrom", Text),
    Column("nodePercentage", Integer),
    Column("nodeMessage", Text),
    Column("childExecutionId", Text),
    Column("startedAt", Text),
    Column("endedAt", Text),
    Column("waitedMs", BigInteger),
    Column("waitingSince", Text),
    Column("failedAttempts", Integer),
)
"""``id`` is ``executionId:nodeId``: one row a node, by construction. ``resultDetail`` is what the
handler returned besides ``outputData``; ``seq`` is the execution's sequence number at the row's
last change, ``startSeq`` at its start; ``lastError`` is why the attempt before failed. A parked
node goes on at ``waitUntil`` or by its ``resumption``, JSON of what ``resume`` said, or of how the
child ended that it called, ``childExecutionId``. ``reusedFrom``
is the execution in which the node ran, where a rerun took its result over. ``nodePercentage`` and
``nodeMessage`` are what the handler last reported from the inside.

``startedAt`` is the start of the first attempt, ``endedAt`` the end of the node run, ``waitedMs``
the time between them in which it was parked, and ``waitingSince`` the moment of the last parking.
``failedAttempts`` counts for the retries. A parked node run without ``resultDetail`` is one whose
next attempt starts at ``waitUntil``."""

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
    Column("position", _Number, primary_key=True, autoincrement=True),
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("organization", Text, nullable=False, server_default=""),
    Column("definitionHash", Text, ForeignKey("orchestrator_definitions.hash"), nullable=False),
    Column("workflowName", Text, nullable=False),
    Column("seq", Integer, nullable=False, server_default="0"),
    Column("totalNodes", Integer, nullable=False),
    Column("completedNodes", Integer, nullable=False, server_default="0"),
    Column("failedNodes", Integer, nullable=False, server_default="0"),
    Column("skippedNodes", Integer, nullable=False, server_default="0"),
    Column("storedBytes", BigInteger),
    Column("owner", Text),
    Column("claimableAt", Text),
    Column("recoveries", Integer, nullable=False, server_default="0"),
    Column("cancelRequestedAt", Text),
    Column("flowRunId", Text),
    Column("rerunOf", Text),
    Column("endedAt", Text),
    Column("endedElsewhere", Integer),
    # A position is never given twice, so that "oldest first" holds after deletions too.
    sqlite_autoincrement=True,
)
"""The service's bookkeeping of one execution: its place in the queue, its lease, its progress.

The status is stored in ``workflow_executions`` only. ``claimableAt`` is the time from which any
worker may claim the execution: ``CLAIMABLE_NOW`` for a queued one, the end of the lease for a
running one, the due time for a parked one; ``NULL`` if it waits for a person or has ended.
``recoveries`` counts the owners that died with it since a node of it last ended. ``endedElsewhere``
is 1 if another program has set the status that ended it. ``storedBytes`` is the size of the data
that the execution has stored, which MAX_EXECUTION_BYTES limits."""

requests = Table(
    "orchestrator_requests",
    metadata,
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("request", Text, nullable=False),
)
"""The request of the webhook delivery that started an execution, or the one that it repeats: JSON
``{"headers", "query", "method"}``, credentials masked."""

events = Table(
    "orchestrator_events",
    metadata,
    Column("position", _Number, primary_key=True, autoincrement=True),
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("seq", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("status", Text),
    Column("currentNodeId", Text),
    Column("completedNodes", Integer, nullable=False),
    Column("failedNodes", Integer, nullable=False),
    Column("skippedNodes", Integer, nullable=False),
    Column("nodeId", Text),
    Column("nodeStatus", Text),
    Column("attempt", Integer),
    Column("lastError", Text),
    Column("nodePercentage", Integer),
    Column("nodeMessage", Text),
    UniqueConstraint("executionId", "seq", name="orchestrator_events_of_execution"),
    sqlite_autoincrement=True,
)
"""What happened, one row a change: an execution's events have the numbers 1, 2, 3 … with no hole.

Each holds how the execution stood after the change, and the node run that changed, if it was one;
the payloads stand in ``execution_logs`` alone. ``position`` orders the events of all executions as
they were committed."""

CLAIMABLE_NOW = ""
"""Sorts before every moment, whatever the clock says."""

Index(
    "orchestrator_runs_claimable",
    runs.c.claimableAt,
    sqlite_where=runs.c.claimableAt.is_not(None),
    postgresql_where=runs.c.claimableAt.is_not(None),
)
Index(
    "orchestrator_runs_owned",
    runs.c.owner,
    sqlite_where=runs.c.owner.is_not(None),
    postgresql_where=runs.c.owner.is_not(None),
)
Index("orchestrator_runs_ended", runs.c.endedAt)
Index("orchestrator_runs_definition", runs.c.definitionHash)

fairness = Table(
    "orchestrator_fairness",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("lastServed", _Number, nullable=False),
)
"""The order in which organizations got a slot; the one with the smallest number is served next."""

callbacks = Table(
    "orchestrator_callbacks",
    metadata,
    Column(
        "executionId",
        Text,
        ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("host", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("dueAt", Text),
    Column("owner", Text),
    Column("lastAttemptAt", Text),
    Column("lastStatus", Integer),
    Column("lastError", Text),
    Column("deliveredAt", Text),
    Column("abandonedAt", Text),
)
"""Who shall be told how an execution ended, and how far that is.

``dueAt`` is ``NULL`` until the execution ends and again when its callback is delivered or given up;
between, it is the moment from which anybody may send it: while ``owner`` does, the end of its
lease. ``host`` is that of ``url``, with its port."""

Index(
    "orchestrator_callbacks_due",
    callbacks.c.dueAt,
    callbacks.c.host,
    sqlite_where=callbacks.c.dueAt.is_not(None),
    postgresql_where=callbacks.c.dueAt.is_not(None),
)
Index(
    "orchestrator_callbacks_of_host",
    callbacks.c.host,
    callbacks.c.dueAt,
    sqlite_where=callbacks.c.dueAt.is_not(None),
    postgresql_where=callbacks.c.dueAt.is_not(None),
)

children = Table(
    "orchestrator_children",
    metadata,
    Column("executionId", Text, primary_key=True),
    Column("parentId", Text, ForeignKey("workflow_executions.id", ondelete="SET NULL")),
    Column("nodeRunId", Text, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("rootId", Text, nullable=False),
    Column("notifiedAt", Text),
)
"""Executions that a node of another one, the parent, called.

``executionId`` is not a foreign key, because the row outlives the child: the parent of a deleted
child must be notified. ``nodeRunId`` is the ``id`` of the node's row in ``execution_logs``.
``depth`` is 1 for a child of a top-level execution. ``rootId`` is the id of that top-level
execution; it is not a foreign key either, because rows are counted by it. ``notifiedAt`` is set by
the transaction that ends the child and notifies the waiting node. ``parentId`` is ``NULL`` if the
parent was deleted."""

Index("orchestrator_children_of_parent", children.c.parentId)
Index("orchestrator_children_of_root", children.c.rootId)
Index(
    "orchestrator_children_unnotified",
    children.c.executionId,
    sqlite_where=children.c.notifiedAt.is_(None),
    postgresql_where=children.c.notifiedAt.is_(None),
)

idempotency_keys = Table(
    "orchestrator_idempotency_keys",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("bodyHash", Text, nullable=False),
    Column("executionId", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
)
"""Which execution a key stands for."""

service_metadata = Table(
    "orchestrator_metadata",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""What the service must remember of the database itself: ``created`` where it made it."""
