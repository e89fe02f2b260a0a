"""Bulk work: services claim bulk operations and apply their action to one execution at a time.

The transaction that changes an execution also records the outcome of its item, and changes nothing
if the item has an outcome. A crash therefore neither loses nor repeats an item.
"""

from datetime import timedelta

from sqlalchemy import Connection, and_, func, or_, select, update

from database.bulk.records import ClaimedBulk, ItemStatus
from database.bulk_tables import bulk_items, bulk_operations
from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.completion import cancel
from database.executions.inputs import Submission
from database.executions.submissions import insert_execution, require_capacity
from database.foreign_values import text_of
from database.maintenance.retention import delete_executions
from database.schedules.records import PendingLimits
from database.tables import CLAIMABLE_NOW, executions, runs
from engine.errors import ConflictError, ExecutionNotFoundError
from engine.status import ExecutionStatus, has_ended

CLOCK_TOLERANCE_SECONDS = 60.0
"""Tolerance for leases whose end was computed by a clock that was ahead, in seconds."""


class BulkWork:
    """Claims bulk operations and applies them."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _time(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    async def claim(self, owner: str, most: int, lease_seconds: float) -> ClaimedBulk | None:
        """Claim the oldest operation that no other service treats, with up to ``most`` items.

        Returns:
            ``None`` if all operations are completed or claimed.
        """
        beyond = self._time(lease_seconds + CLOCK_TOLERANCE_SECONDS)
        claimable = or_(
            bulk_operations.c.claimableAt <= self._time(),
            bulk_operations.c.claimableAt > beyond,
            and_(bulk_operations.c.owner == owner, bulk_operations.c.claimableAt.is_not(None)),
        )
        oldest = (
            select(bulk_operations).where(claimable).order_by(bulk_operations.c.createdAt).limit(1)
        )
        # Reads first, so that an idle service does not take the write lock.
        found = await self._reader.run(
            lambda connection: connection.execute(oldest).first(), snapshot=False
        )
        if found is None:
            return None

        def write(connection: Connection) -> ClaimedBulk | None:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            pending = (
                select(bulk_items.c.executionId)
                .where(bulk_items.c.bulkId == row.id, bulk_items.c.status == ItemStatus.PENDING)
                .order_by(bulk_items.c.executionId)
                .limit(most)
            )
            ids = list(connection.scalars(pending))
            own_row = update(bulk_operations).where(bulk_operations.c.id == row.id)
            if not ids:
                done = {"owner": None, "claimableAt": None, "completedAt": self._time()}
                connection.execute(own_row.values(**done))
            else:
                until = self._time(lease_seconds)
                connection.execute(own_row.values(owner=owner, claimableAt=until))
            definition = row.definition or "original"
            organization = row.organization or None
            return ClaimedBulk(row.id, owner, row.action, organization, definition, ids)

        return await self._writer.run(write)

    async def release(self, bulk: ClaimedBulk, delay_seconds: float = 0) -> None:
        """Let any service claim an operation, after ``delay_seconds``."""
        due = self._time(delay_seconds) if delay_seconds else CLAIMABLE_NOW
        own_row = and_(bulk_operations.c.id == bulk.id, bulk_operations.c.owner == bulk.owner)
        release = update(bulk_operations).where(own_row).values(owner=None, claimableAt=due)
        await self._writer.run(lambda connection: connection.execute(release))

    async def rerun(
        self, bulk: ClaimedBulk, execution_id: str, submission: Submission, limits: PendingLimits
    ) -> bool:
        """Store the rerun of an execution; return whether this call stored it.

        Raises:
            QueueFullError: If the queue is full; the item is still pending.
        """

        def write(connection: Connection) -> bool:
            if not _settle(connection, bulk, execution_id, submission.execution_id):
                return False
            require_capacity(
                connection, submission.organization_id, limits.total, limits.per_organization
            )
            insert_execution(connection, submission, self._time())
            return True

        return await self._writer.run(write)

    async def cancel(self, bulk: ClaimedBulk, execution_id: str) -> list[str]:
        """Cancel an execution; return the executions that their owners must stop.

        Raises:
            ExecutionNotFoundError: If it does not exist.
            ConflictError: If it has ended.
        """

        def write(connection: Connection) -> list[str]:
            if not _settle(connection, bulk, execution_id):
                return []
            if has_ended(_status(connection, bulk, execution_id)):
                raise ConflictError(f"Execution '{execution_id}' has ended already")
            return cancel(connection, [execution_id], self._time())

        return await self._writer.run(write)

    async def delete(self, bulk: ClaimedBulk, execution_id: str) -> None:
        """Delete an ended execution.

        Raises:
            ExecutionNotFoundError: If it does not exist.
            ConflictError: If it has not ended.
        """

        def write(connection: Connection) -> None:
            if not _settle(connection, bulk, execution_id):
                return
            status = _status(connection, bulk, execution_id)
            unended = select(func.count()).where(
                runs.c.executionId == execution_id, runs.c.endedAt.is_(None)
            )
            if not has_ended(status) or connection.scalar(unended):
                raise ConflictError(f"Execution '{execution_id}' is {status} and has not ended")
            delete_executions(connection, [execution_id])

        await self._writer.run(write)

    async def fail(self, bulk: ClaimedBulk, execution_id: str, error: str) -> None:
        """Record that the action cannot be applied to an execution."""
        await self._writer.run(
            lambda connection: _settle(
                connection, bulk, execution_id, status=ItemStatus.FAILED, error=error
            )
        )

    async def require_organization(self, bulk: ClaimedBulk, execution_id: str) -> None:
        """Check that an operation may change an execution.

        Raises:
            ExecutionNotFoundError: If it may not, or the execution does not exist.
        """
        await self._reader.run(lambda connection: _status(connection, bulk, execution_id))


def _settle(
    connection: Connection,
    bulk: ClaimedBulk,
    execution_id: str,
    new_execution_id: str | None = None,
    *,
    status: ItemStatus = ItemStatus.SUCCEEDED,
    error: str | None = None,
) -> bool:
    """Record the outcome of an item; return false if it has one."""
    settled = connection.execute(
        update(bulk_items)
        .where(
            bulk_items.c.bulkId == bulk.id,
            bulk_items.c.executionId == execution_id,
            bulk_items.c.status == ItemStatus.PENDING,
        )
        .values(status=status, newExecutionId=new_execution_id, error=error)
    )
    return settled.rowcount == 1


def _status(connection: Connection, bulk: ClaimedBulk, execution_id: str) -> str:
    """Return the status of an execution that the operation may change."""
    row = None
    if "\0" not in execution_id:
        row = connection.execute(
            select(executions.c.status, executions.c.organizationId)
            .join(runs, runs.c.executionId == executions.c.id)
            .where(executions.c.id == execution_id)
        ).first()
    # The error must not reveal that another organization has this execution.
    of_other = bulk.organization_id is not None and (
        row is None or text_of(row.organizationId) != bulk.organization_id
    )
    if row is None or of_other:
        raise ExecutionNotFoundError(execution_id)
    return text_of(row.status) or ExecutionStatus.PENDING
