"""Tables: three tables of the main project, and the tables of the service.

Only the columns that statements name are listed. The migrations define the keys, the defaults and
the indexes. Columns of the main project that the service neither reads nor writes are left out.
"""

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

metadata = MetaData()

Number = BigInteger().with_variant(Integer, "sqlite")
"""Type of numbers that are never reused. SQLite only increments columns of type ``INTEGER``."""

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
    Column("workflowId", Text, nullable=False),
    Column("organizationId", Text),
    Column("status", Text),
    Column("triggerType", Text),
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
    Column("executionId", Text, nullable=False),
    Column("nodeId", Text),
    Column("nodeType", Text),
    Column("nodeLabel", Text),
    Column("status", Text),
    Column("inputData", Text),
    Column("outputData", Text),
    Column("error", Text),
    Column("duration", Integer),
    Column("timestamp", Text),
    # Nullable columns that the service adds to the main project's table:
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
"""``id`` is ``executionId:nodeId``, so that each node has one row. ``resultDetail`` is the result
without ``outputData``. ``seq`` is the execution's sequence number at the row's last
change and ``startSeq`` at its start. ``lastError`` is the error of the previous attempt. A parked
node continues at ``waitUntil`` or when it has a ``resumption``, which is JSON from a ``resume``
request or the result of the child execution ``childExecutionId``. ``reusedFrom`` is the execution
in which the node ran if a rerun copied its result. ``nodePercentage`` and ``nodeMessage`` are the
last progress that the handler reported.

``startedAt`` is the start of the first attempt, ``endedAt`` the end of the node run, ``waitedMs``
the time in which it was parked, in milliseconds, and ``waitingSince`` the time of the last parking.
``failedAttempts`` counts for the retries. If a parked node run has no ``resultDetail``, its next
attempt starts at ``waitUntil``; without this time, it starts when a request of it in
``orchestrator_permits`` is granted."""

definitions = Table(
    "orchestrator_definitions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
)
"""Workflow documents at the time of submission, by the SHA-256 of their JSON."""

runs = Table(
    "orchestrator_runs",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("executionId", Text, nullable=False),
    Column("organization", Text, nullable=False),
    Column("definitionHash", Text, nullable=False),
    Column("workflowName", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("totalNodes", Integer, nullable=False),
    Column("completedNodes", Integer, nullable=False),
    Column("failedNodes", Integer, nullable=False),
    Column("skippedNodes", Integer, nullable=False),
    Column("storedBytes", BigInteger),
    Column("owner", Text),
    Column("claimableAt", Text),
    Column("recoveries", Integer, nullable=False),
    Column("cancelRequestedAt", Text),
    Column("flowRunId", Text),
    Column("rerunOf", Text),
    Column("failureOf", Text),
    Column("endedAt", Text),
    Column("endedElsewhere", Integer),
    Column("endError", Text),
    Column("dispatchAttempt", Integer),
    Column("dispatchedAt", Text),
    Column("dispatchFlowRunId", Text),
    Column("traceContext", Text),
    Column("maxConcurrentExecutions", Integer),
)
"""The service's record of one execution: its position in the queue, its lease and its progress.

The status is stored in ``workflow_executions`` only. ``claimableAt`` is the time from which any
worker may claim the execution: ``CLAIMABLE_NOW`` for a queued one, the end of the lease for a
running one, the due time for a parked one; ``NULL`` if it waits for a person or has ended.
``recoveries`` counts the owners that crashed since a node of it last ended. ``failureOf`` is the
failed execution whose failure workflow led to this one, also through calls and reruns.
``endedElsewhere`` is 1 if another program has set the status that ended it. ``endError`` is the
reason of an end that could not be stored yet; no node of the execution runs any more.
``storedBytes`` is the size of the data that the execution has stored, which MAX_EXECUTION_BYTES
limits.

With a work pool, ``dispatchAttempt`` counts the flow runs that were submitted for the execution,
``dispatchedAt`` is the time of the last one if no worker has claimed the execution since then, and
``dispatchFlowRunId`` is its id. ``traceContext`` is JSON with the trace headers of the request that
started the execution, or of the node that called it. ``maxConcurrentExecutions`` is the limit of
its workflow that its document declares."""

requests = Table(
    "orchestrator_requests",
    metadata,
    Column("executionId", Text, primary_key=True),
    Column("request", Text, nullable=False),
)
"""Request of the webhook delivery that started an execution, or that started the execution which it
repeats. It is JSON ``{"headers", "query", "method"}`` with masked credentials."""

events = Table(
    "orchestrator_events",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("executionId", Text, nullable=False),
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
)
"""Events, one for each change. The events of an execution are numbered 1, 2, 3 … without gaps.

Each event contains the state of the execution after the change, and the node run if one changed.
Payloads are stored in ``execution_logs`` only. ``position`` orders the events of all executions by
their commits."""

CLAIMABLE_NOW = ""
"""Value of ``claimableAt`` that sorts before every timestamp."""

fairness = Table(
    "orchestrator_fairness",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("lastServed", Number, nullable=False),
)
"""Order in which organizations got a slot; the one with the smallest number is served next."""

callbacks = Table(
    "orchestrator_callbacks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("executionId", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text),
    Column("createdAt", Text),
    Column("attempts", Integer, nullable=False),
    Column("dueAt", Text),
    Column("owner", Text),
    Column("lastAttemptAt", Text),
    Column("lastStatus", Integer),
    Column("lastError", Text),
    Column("deliveredAt", Text),
    Column("abandonedAt", Text),
)
"""Callbacks: receivers that are notified of the end of an execution, or of a task that waits.

``id`` is that of the execution, or is derived from the task. Only the callback of a task has a
``body`` and ``createdAt``; the other one is built from the execution.

``dueAt`` is ``NULL`` before the execution ends and after its callback is delivered or abandoned.
Otherwise it is the time from which any worker may send the callback; while ``owner`` sends it, this
is the end of the lease. ``host`` is the host of ``url`` with its port."""

children = Table(
    "orchestrator_children",
    metadata,
    Column("executionId", Text, primary_key=True),
    Column("parentId", Text),
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

failures = Table(
    "orchestrator_failures",
    metadata,
    Column("executionId", Text, primary_key=True),
    Column("organization", Text, nullable=False),
    Column("workflowId", Text, nullable=False),
    Column("nodeId", Text),
    Column("nodeType", Text),
    Column("fingerprint", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("failedAt", Text, nullable=False),
    Column("failureWorkflowId", Text),
    Column("failureExecutionId", Text),
    Column("failureError", Text),
    Column("rerunAs", Text),
)
"""Failed executions, stored by the transaction that wrote ``failed``.

``nodeId`` is the node because of which the execution failed; ``NULL`` for any other cause.
``fingerprint`` is equal for failures of the same workflow and node with the same ``message``, which
is the error without ids, times and numbers. If the execution has a failure workflow, either
``failureExecutionId`` is the execution of it or ``failureError`` the reason why there is none.
``rerunAs`` is the last rerun of the execution."""

permits = Table(
    "orchestrator_permits",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("nodeRunId", Text, nullable=False),
    Column("executionId", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("grantedAt", Text),
    Column("orphanedAt", Text),
)
"""Requests of node runs for permits of a limit: one row for each limit that applies to a node run.

``request`` is the id of one request. Of the rows with one ``name``, the first ``capacity`` hold a
permit; ``grantedAt`` is the time when the request held all of its permits. ``owner`` is empty for
a parked node run. ``executionId`` is not a foreign key, because a node may still run when another
program deletes its execution. ``orphanedAt`` is the time when the owner was found to have lost the
execution."""

schedules = Table(
    "orchestrator_schedules",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workflowId", Text, nullable=False),
    Column("nodeId", Text, nullable=False),
    Column("settings", Text),
    Column("error", Text),
    Column("nextAt", Text),
    Column("dueAt", Text),
    Column("handledAt", Text, nullable=False),
    Column("blockedBy", Text),
    Column("pausedAt", Text),
    Column("lastInstant", Text),
    Column("lastExecutionId", Text),
    Column("lastSkippedInstant", Text),
    Column("lastSkipReason", Text),
    Column("createdAt", Text, nullable=False),
)
"""Schedules: the ``schedule`` nodes of saved workflows.

``settings`` is the JSON of the node's schedule, or ``NULL`` if ``error`` is the reason why it is
invalid. ``nextAt`` is the first instant that is not handled, and ``dueAt`` the time from which any
worker may handle it: ``nextAt`` with its jitter, or ``NULL`` while the schedule is paused, invalid
or blocked. ``blockedBy`` is the execution that must end before ``nextAt``. ``handledAt`` is the
time of the last change; a later one than now shows that the clock was set back."""

schedule_runs = Table(
    "orchestrator_schedule_runs",
    metadata,
    Column("scheduleId", Text, primary_key=True),
    Column("instant", Text, primary_key=True),
    Column("executionId", Text, nullable=False),
    Column("isOpen", Integer),
)
"""Executions that schedules started: one for each instant. ``isOpen`` is 1 until the next instant
finds that the execution has ended; it is ``NULL`` for a backfill."""

workflow_versions = Table(
    "orchestrator_workflow_versions",
    metadata,
    Column("workflowId", Text, primary_key=True),
    Column("updatedAt", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("hash", Text),
)
"""Versions of the workflows in which schedules were searched. ``hash`` is the SHA-256 of a document
with schedules, and ``NULL`` for other documents."""

payloads = Table(
    "orchestrator_payloads",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("characters", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("preview", Text, nullable=False),
)
"""Large values, by the SHA-256 of their JSON. ``preview`` is the start of the text."""

payload_parts = Table(
    "orchestrator_payload_parts",
    metadata,
    Column("payloadHash", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("chunkHash", Text, nullable=False),
)
"""The chunks of each large value, in order."""

chunks = Table(
    "orchestrator_chunks",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("text", Text, nullable=False),
)
"""Pieces of large values, by their SHA-256; similar values share most of them."""

payload_uses = Table(
    "orchestrator_payload_uses",
    metadata,
    Column("executionId", Text, primary_key=True),
    Column("payloadHash", Text, primary_key=True),
)
"""The executions that use a large value; it is deleted with the last one."""

idempotency_keys = Table(
    "orchestrator_idempotency_keys",
    metadata,
    Column("organization", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("bodyHash", Text, nullable=False),
    Column("executionId", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
)
"""Executions by the idempotency key of their request."""

service_metadata = Table(
    "orchestrator_metadata",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about the database: ``created`` if the service created the main project's tables."""
