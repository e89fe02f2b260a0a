"""Bulk store: stores bulk operations with their items, and returns their progress."""

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from database.bulk.records import (
    BulkCursor,
    BulkItem,
    BulkProgress,
    BulkReceipt,
    BulkRequest,
    ItemStatus,
)
from database.bulk_tables import bulk_items, bulk_operations
from database.clock import Clock, to_text
from database.connection.engines import insert_or_ignore
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.foreign_ends import UNENDED_STATUSES
from database.queries.listings import Page, page_of
from database.tables import CLAIMABLE_NOW, executions, failures, runs
from engine.errors import IdempotencyKeyReusedError
from engine.request_errors import BulkNotFoundError, TooManyBulkItemsError
from engine.status import ExecutionStatus

MAX_BULK_ITEMS = 100_000
"""Maximum number of executions of one bulk operation, because one transaction stores them."""


class BulkStore:
    """Stores and reads bulk operations."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def count(self, request: BulkRequest) -> int:
        """Return the number of executions of an operation, without storing it."""
        if request.ids is not None:
            return len(set(request.ids))
        query = select(func.count()).select_from(_matching(request).subquery())
        return await self._reader.run(lambda connection: connection.execute(query).scalar_one())

    async def create(self, request: BulkRequest) -> BulkReceipt:
        """Store an operation with its items, or return the one with the same idempotency key.

        Raises:
            IdempotencyKeyReusedError: If the key belongs to another request.
            TooManyBulkItemsError: If it has more than ``MAX_BULK_ITEMS`` executions.
            StorageError: If the database is unavailable; nothing is stored.
        """
        return await self._writer.run(lambda connection: self._create(connection, request))

    def _create(self, connection: Connection, request: BulkRequest) -> BulkReceipt:
        now = to_text(self._clock())
        row = {
            "id": request.id,
            "organization": request.organization_id or "",
            "action": request.action,
            "definition": request.definition if request.action == "rerun" else None,
            "matched": 0,
            "idempotencyKey": request.idempotency_key,
            "bodyHash": request.body_hash,
            "createdAt": now,
        }
        inserted = connection.execute(
            insert_or_ignore(connection.dialect.name, bulk_operations), row
        )
        if inserted.rowcount != 1:
            return _known(connection, request)
        if request.ids is not None:
            items = [
                {"bulkId": request.id, "executionId": execution_id, "status": ItemStatus.PENDING}
                for execution_id in dict.fromkeys(request.ids)
            ]
            if items:
                connection.execute(bulk_items.insert(), items)
            matched = len(items)
        else:
            ids = _matching(request).limit(MAX_BULK_ITEMS + 1).subquery()
            rows = select(
                literal(request.id, Text), ids.c.executionId, literal(ItemStatus.PENDING, Text)
            )
            names = ["bulkId", "executionId", "status"]
            matched = connection.execute(bulk_items.insert().from_select(names, rows)).rowcount
        if matched > MAX_BULK_ITEMS:
            raise TooManyBulkItemsError(MAX_BULK_ITEMS)
        done = {"completedAt": now} if matched == 0 else {"claimableAt": CLAIMABLE_NOW}
        own_row = bulk_operations.c.id == request.id
        connection.execute(update(bulk_operations).where(own_row).values(matched=matched, **done))
        return BulkReceipt(request.id, matched)

    async def progress(self, bulk_id: str) -> BulkProgress:
        """Return an operation with its counts.

        Raises:
            BulkNotFoundError: If it does not exist.
        """
        if "\0" in bulk_id:
            raise BulkNotFoundError(bulk_id)  # PostgreSQL rejects the parameter
        operation = select(bulk_operations).where(bulk_operations.c.id == bulk_id)
        counts = (
            select(bulk_items.c.status, func.count())
            .where(bulk_items.c.bulkId == bulk_id)
            .group_by(bulk_items.c.status)
        )

        def read(connection: Connection) -> BulkProgress:
            row = connection.execute(operation).first()
            if row is None:
                raise BulkNotFoundError(bulk_id)
            count = {status: number for status, number in connection.execute(counts)}  # noqa: C416 - type checkers do not accept rows as pairs
            return BulkProgress(
                row.id,
                row.organization or None,
                row.action,
                row.definition,
                row.matched,
                count.get(ItemStatus.SUCCEEDED, 0),
                count.get(ItemStatus.FAILED, 0),
                row.createdAt,
                row.completedAt,
            )

        return await self._reader.run(read)

    async def items(
        self, bulk_id: str, status: str | None, limit: int, after: BulkCursor | None
    ) -> Page[BulkItem, BulkCursor]:
        """Return up to ``limit`` items of an operation in the order of their ids."""
        query = select(bulk_items).where(bulk_items.c.bulkId == bulk_id)
        if status is not None:
            query = query.where(bulk_items.c.status == status)
        if after is not None:
            query = query.where(bulk_items.c.executionId > after.execution_id)
        query = query.order_by(bulk_items.c.executionId).limit(limit + 1)
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return page_of(
            rows,
            limit,
            lambda row: BulkItem(row.executionId, row.status, row.newExecutionId, row.error),
            lambda last: BulkCursor(last.executionId),
        )

    async def delete_completed(self, before: str) -> None:
        """Delete the operations that were completed before a time, with their items."""
        old = select(bulk_operations.c.id).where(bulk_operations.c.completedAt < before).limit(1)
        bulk_id = await self._reader.run(lambda connection: connection.scalar(old))
        if bulk_id is None:
            return

        def write(connection: Connection) -> None:
            connection.execute(delete(bulk_items).where(bulk_items.c.bulkId == bulk_id))
            connection.execute(delete(bulk_operations).where(bulk_operations.c.id == bulk_id))

        await self._writer.run(write)


def _known(connection: Connection, request: BulkRequest) -> BulkReceipt:
    """Return the operation with the same idempotency key."""
    row = connection.execute(
        select(bulk_operations).where(
            bulk_operations.c.organization == (request.organization_id or ""),
            bulk_operations.c.idempotencyKey == request.idempotency_key,
        )
    ).one()
    if row.bodyHash != request.body_hash:
        raise IdempotencyKeyReusedError(request.idempotency_key or "")
    return BulkReceipt(row.id, row.matched)


def _matching(request: BulkRequest) -> Select[tuple[str]]:
    """Return the query of the executions that a filter matches, and the action can be applied to.

    Only executions of this service match.
    """
    wanted = request.filter
    conditions: list[ColumnElement[bool]] = []
    if request.organization_id is not None:
        conditions.append(executions.c.organizationId == request.organization_id)
    if wanted.workflow_id is not None:
        conditions.append(executions.c.workflowId == wanted.workflow_id)
    if wanted.statuses:
        conditions.append(executions.c.status.in_(wanted.statuses))
    elif request.action == "rerun":
        conditions.append(executions.c.status == ExecutionStatus.FAILED)
    if wanted.created_from is not None:
        conditions.append(executions.c.createdAt >= wanted.created_from)
    if wanted.created_to is not None:
        conditions.append(executions.c.createdAt < wanted.created_to)
    has_ended = executions.c.status.not_in(UNENDED_STATUSES)
    conditions.append(~has_ended if request.action == "cancel" else has_ended)
    if wanted.failure is not None:
        conditions.append(failures.c.fingerprint == wanted.failure)
    if request.action == "rerun" and not wanted.include_rerun:
        conditions.append(or_(failures.c.executionId.is_(None), failures.c.rerunAs.is_(None)))
    return (
        select(runs.c.executionId)
        .join(executions, executions.c.id == runs.c.executionId)
        .outerjoin(failures, failures.c.executionId == runs.c.executionId)
        .where(and_(*conditions))
        .order_by(runs.c.position)
    )
