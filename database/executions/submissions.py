"""Submissions: stores new executions and reruns, each idempotency key once."""

from datetime import timedelta
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, Text, delete, func, literal, select, update
from sqlalchemy.exc import IntegrityError

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.engines import insert_or_ignore, is_foreign_key_violation
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.callbacks import add_callback
from database.executions.event_log import append_node_events, append_numbered_events
from database.executions.inline_workflows import ensure_inline_workflow
from database.executions.inputs import IdempotencyKey, Submission
from database.payloads import (
    MAX_EXECUTION_TEXT_CHARACTERS,
    LargeTexts,
    bytes_of,
    copy_uses,
    prevent_deletion,
)
from database.tables import (
    CLAIMABLE_NOW,
    definitions,
    executions,
    failures,
    idempotency_keys,
    logs,
    requests,
    runs,
    workflows,
)
from engine.errors import (
    IdempotencyKeyReusedError,
    QueueFullError,
    StorageUnavailableError,
    UnknownOrganizationError,
    WorkflowNotFoundError,
)
from engine.status import ExecutionStatus
from engine.workflow_limits import limit_in

IDEMPOTENCY_KEY_TTL_HOURS = 24
_QUEUE_LOCK = 7_205_759_405  # differs from the numbers of the other locks
"""PostgreSQL's advisory lock of the transactions that count waiting executions and add one."""
MAX_TRANSACTIONS = 1_000
"""Number of executions that all services together certainly submit at the same time at most."""


class Submissions:
    """Stores accepted executions."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _now(self) -> str:
        return to_text(self._clock())

    def _oldest_key(self) -> str:
        return to_text(self._clock() - timedelta(hours=IDEMPOTENCY_KEY_TTL_HOURS))

    async def find_by_key(self, key: IdempotencyKey) -> str | None:
        """Return the id of the execution with this key; ``None`` for a new key.

        Raises:
            IdempotencyKeyReusedError: If the key belongs to another request.
        """
        query = select(idempotency_keys.c.bodyHash, idempotency_keys.c.executionId).where(
            *_key_filter(key), idempotency_keys.c.createdAt > self._oldest_key()
        )
        row = await self._reader.run(
            lambda connection: connection.execute(query).first(), snapshot=False
        )
        if row is None:
            return None
        if row.bodyHash != key.body_hash:
            raise IdempotencyKeyReusedError(key.key)
        return row.executionId

    async def submit(
        self,
        submission: Submission,
        max_pending: int | None = None,
        max_pending_of_organization: int | None = None,
    ) -> str:
        """Store an execution as ``pending``, with a copy of its document.

        Returns:
            Its id, or the id of the existing execution with the same idempotency key.

        Raises:
            WorkflowNotFoundError: If the workflow was deleted in the meantime.
            UnknownOrganizationError: If the organization does not exist in the main project.
            IdempotencyKeyReusedError: If the key belongs to another request.
            QueueFullError: If ``max_pending`` executions are pending, or the organization has
                ``max_pending_of_organization``; without an organization only the first applies.
            StorageError: If the database is unavailable; nothing is stored.
        """
        try:
            return await self._writer.run(
                lambda connection: self._insert(
                    connection, submission, max_pending, max_pending_of_organization
                ),
                urgent=True,
            )
        except IntegrityError as error:
            if not is_foreign_key_violation(error):
                raise StorageUnavailableError(f"A table rejects the row: {error.orig}") from None
            query = select(workflows.c.id).where(workflows.c.id == submission.workflow_id)
            workflow_id = await self._reader.run(lambda connection: connection.scalar(query))
            if workflow_id is None and not submission.unsaved:
                raise WorkflowNotFoundError(submission.workflow_id) from None
            if submission.organization_id is None:
                raise
            raise UnknownOrganizationError(submission.organization_id) from None

    def _insert(
        self,
        connection: Connection,
        submission: Submission,
        max_pending: int | None,
        max_pending_of_organization: int | None,
    ) -> str:
        now = self._now()
        if submission.idempotency is not None:
            existing = self._register_key(
                connection, submission.idempotency, submission.execution_id, now
            )
            if existing is not None:
                return existing
        require_capacity(
            connection, submission.organization_id, max_pending, max_pending_of_organization
        )
        insert_execution(connection, submission, now)
        return submission.execution_id

    def _register_key(
        self, connection: Connection, key: IdempotencyKey, execution_id: str, now: str
    ) -> str | None:
        """Store the key; if it exists already, return the id of its execution."""
        connection.execute(
            delete(idempotency_keys).where(
                *_key_filter(key), idempotency_keys.c.createdAt <= self._oldest_key()
            )
        )
        inserted = connection.execute(
            insert_or_ignore(connection.dialect.name, idempotency_keys),
            {
                "organization": key.organization,
                "key": key.key,
                "bodyHash": key.body_hash,
                "executionId": execution_id,
                "createdAt": now,
            },
        )
        if inserted.rowcount == 1:
            return None
        row = connection.execute(
            select(idempotency_keys.c.bodyHash, idempotency_keys.c.executionId).where(
                *_key_filter(key)
            )
        ).one()
        if row.bodyHash != key.body_hash:
            raise IdempotencyKeyReusedError(key.key)
        return row.executionId


_COUNT = select(func.count()).select_from(runs).where(runs.c.claimableAt == CLAIMABLE_NOW)


def require_capacity(
    connection: Connection,
    organization_id: str | None,
    most: int | None,
    max_pending_of_organization: int | None,
) -> None:
    """Raise an error if the queue, or the organization's share of it, is full.

    On SQLite the transaction has the write lock. On PostgreSQL submissions take a lock until the
    end of the transaction, because transactions cannot read each other's uncommitted rows. They do
    not if the transactions in progress cannot fill the queue.
    """
    if most is None and max_pending_of_organization is None:
        return
    if connection.dialect.name == "postgresql":
        limits = (most, max_pending_of_organization)
        smallest = min(limit for limit in limits if limit is not None)
        if smallest > MAX_TRANSACTIONS:
            waiting = connection.execute(_COUNT).scalar_one()
            if waiting < smallest - MAX_TRANSACTIONS:
                return
        connection.execute(select(func.pg_advisory_xact_lock(_QUEUE_LOCK)))
    if max_pending_of_organization is not None and organization_id is not None:
        waiting = connection.execute(
            _COUNT.where(runs.c.organization == organization_id)
        ).scalar_one()
        if waiting >= max_pending_of_organization:
            setting = f"MAX_PENDING_EXECUTIONS_PER_ORGANIZATION={max_pending_of_organization}"
            raise QueueFullError(waiting, setting, organization_id)
    waiting = connection.execute(_COUNT).scalar_one()
    if most is not None and waiting >= most:
        raise QueueFullError(waiting, f"MAX_PENDING_EXECUTIONS={most}")


def insert_execution(
    connection: Connection, submission: Submission, now: str, parent_id: str | None = None
) -> None:
    """Write the rows of a ``pending`` execution, and its first event.

    ``parent_id`` is the execution that calls it.
    """
    if submission.unsaved:
        ensure_inline_workflow(connection, submission.organization_id, now)
    digest = sha256(submission.document.encode()).hexdigest()
    large, inputs = LargeTexts(), submission.inputs
    if inputs is not None:
        inputs = large.replace(inputs, MAX_EXECUTION_TEXT_CHARACTERS)
    connection.execute(
        insert_or_ignore(connection.dialect.name, definitions),
        {"hash": digest, "document": submission.document, "createdAt": now},
    )
    connection.execute(
        executions.insert(),
        {
            "id": submission.execution_id,
            "workflowId": submission.workflow_id,
            "organizationId": submission.organization_id,
            "status": ExecutionStatus.PENDING,
            "triggerType": submission.trigger_type,
            "inputs": inputs,
            "createdAt": now,
        },
    )
    large.write(connection, submission.execution_id)
    progress = submission.progress
    connection.execute(
        runs.insert(),
        {
            "executionId": submission.execution_id,
            "organization": submission.organization_id or "",
            "definitionHash": digest,
            "workflowName": submission.workflow_name,
            "totalNodes": submission.total_nodes,
            "completedNodes": progress.completed if progress else 0,
            "storedBytes": len((submission.inputs or "").encode()),
            "seq": len(submission.reused_nodes) + 1,
            "claimableAt": CLAIMABLE_NOW,
            "rerunOf": submission.rerun_of,
            "failureOf": _failure_of(connection, submission, parent_id),
            "traceContext": submission.trace_context,
            "maxConcurrentExecutions": limit_in(submission.document),
        },
    )
    if submission.request is not None:
        connection.execute(
            requests.insert().values(
                executionId=submission.execution_id, request=submission.request
            )
        )
    if submission.callback_url is not None:
        add_callback(connection, submission.execution_id, submission.callback_url)
    if submission.rerun_of is not None:
        is_source = failures.c.executionId == submission.rerun_of
        rerun = {"rerunAs": submission.execution_id}
        connection.execute(update(failures).where(is_source).values(rerun))
        _copy_request(connection, submission.execution_id, submission.rerun_of)
        _copy_reused_nodes(connection, submission, submission.rerun_of, now)
    note_change(connection, Change.QUEUE)
    append_numbered_events(connection, [submission.execution_id], now)


def _failure_of(
    connection: Connection, submission: Submission, parent_id: str | None
) -> str | None:
    """Return the failed execution whose failure workflow leads to this one."""
    if submission.failure_of is not None:
        return submission.failure_of
    for origin in filter(None, (parent_id or submission.rerun_of, submission.called_by)):
        query = select(runs.c.failureOf).where(runs.c.executionId == origin)
        if found := connection.scalar(query):
            return found
    return None


def _copy_request(connection: Connection, execution_id: str, source: str) -> None:
    row = select(literal(execution_id, Text), requests.c.request).where(
        requests.c.executionId == source
    )
    connection.execute(requests.insert().from_select(["executionId", "request"], row))


def _copy_reused_nodes(
    connection: Connection, submission: Submission, source: str, now: str
) -> None:
    """Copy the rows of reused nodes, in the order in which the nodes ended."""
    prevent_deletion(connection)
    copied = [
        column
        for column in logs.c
        if column.name not in ("id", "executionId", "seq", "startSeq", "reusedFrom")
    ]
    for seq, node_id in enumerate(submission.reused_nodes, start=1):
        row = select(
            literal(f"{submission.execution_id}:{node_id}", Text),
            literal(submission.execution_id, Text),
            literal(seq),
            literal(seq),
            func.coalesce(logs.c.reusedFrom, literal(source, Text)),
            *copied,
        ).where(logs.c.id == f"{source}:{node_id}")
        names = ["id", "executionId", "seq", "startSeq", "reusedFrom"]
        connection.execute(
            logs.insert().from_select([*names, *(column.name for column in copied)], row)
        )
    copy_uses(connection, source, submission.execution_id)
    own_rows = logs.c.executionId == submission.execution_id
    columns = (logs.c.inputData, logs.c.outputData, logs.c.resultDetail, logs.c.outputData)
    sizes = (func.sum(bytes_of(connection, column, logs.c.executionId)) for column in columns)
    size = sum((func.coalesce(size, 0) for size in sizes), literal(0))
    connection.execute(
        update(runs)
        .where(runs.c.executionId == submission.execution_id)
        .values(storedBytes=runs.c.storedBytes + select(size).where(own_rows).scalar_subquery())
    )
    taken = enumerate(submission.reused_nodes, start=1)
    rows = [(seq, f"{submission.execution_id}:{node_id}") for seq, node_id in taken]
    append_node_events(connection, submission.execution_id, rows, now)


def _key_filter(key: IdempotencyKey) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        idempotency_keys.c.organization == key.organization,
        idempotency_keys.c.key == key.key,
    )
