"""Journal: the state changes of executions, recorded by the owner of their leases.

Each method is one state change in one transaction. It starts with a guard, which renews the lease
of the owner. If this changes no row, the method raises ``LeaseLostError`` and writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Integer,
    Text,
    bindparam,
    case,
    func,
    or_,
    update,
)

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.encryption import DataEncryption
from database.executions.child_executions import cancel_abandoned_children
from database.executions.completion import lock_relatives
from database.executions.event_log import append_execution_events, append_node_events
from database.executions.event_waits import lock_awaited_events
from database.executions.execution_ends import end_execution, end_without_failing_effects
from database.executions.foreign_ends import HAS_NOT_ENDED, EndedElsewhereError, was_ended
from database.executions.journal_records import (
    ExecutionResult,
    JournalState,
    NodeChanges,
    RecordedStep,
    RetryLater,
)
from database.executions.journal_state import build_journal_state, read_journal_rows
from database.executions.large_changes import replace_in_changes, replace_in_result
from database.executions.node_runs import row_id, write_node_runs
from database.executions.node_waits import change_waits, end_waits
from database.executions.permits import park_requests
from database.executions.resumptions import (
    expire_nodes,
    is_resumed,
    read_resumptions,
    resume_node,
)
from database.foreign_values import text_of
from database.records import Lease
from database.tables import CLAIMABLE_NOW, executions, logs, runs
from engine.errors import LeaseLostError
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import ExecutionStatus
from offload import run_sized

# Statements are built once, because building one takes longer than SQLite takes to execute it.
_RENEW_LEASE = (
    update(runs)
    .where(runs.c.executionId == bindparam("execution"), runs.c.owner == bindparam("holder"))
    .values(
        seq=func.coalesce(bindparam("change", type_=Integer), runs.c.seq),
        claimableAt=bindparam("until"),
        flowRunId=func.coalesce(bindparam("flow_run", type_=Text), runs.c.flowRunId),
    )
)
_RENEW_LEASE_AND_PROGRESS = _RENEW_LEASE.values(
    completedNodes=bindparam("completed"),
    failedNodes=bindparam("failed"),
    skippedNodes=bindparam("skipped"),
    storedBytes=func.coalesce(bindparam("stored", type_=BigInteger), runs.c.storedBytes),
    # Crashed owners are counted from the last node that ended.
    recoveries=case((bindparam("progressed", type_=Boolean), 0), else_=runs.c.recoveries),
)
_SET_CURRENT_NODE = (
    update(executions)
    .where(executions.c.id == bindparam("execution"))
    .where(HAS_NOT_ENDED)
    .values(currentNodeId=bindparam("current"), status=ExecutionStatus.RUNNING)
)


class Journal:
    """Records executions for the owner of their leases."""

    def __init__(
        self, reader: Reader, writer: Writer, clock: Clock, encryption: DataEncryption
    ) -> None:
        self.encryption = encryption
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def load(self, lease: Lease) -> JournalState:
        """Return the state of a claimed execution.

        Raises:
            LeaseLostError: If it was deleted or taken over.
        """
        # Only the owner of the lease changes these rows, so that a snapshot is not necessary.
        head, rows = await self._reader.run(
            lambda connection: read_journal_rows(connection, lease), snapshot=False
        )
        if head is None:
            raise LeaseLostError(lease.execution_id)
        size = sum(
            len(text_of(value) or "")
            for row in rows
            for value in (row.outputData, row.resultDetail, row.resumption)
        )
        return await run_sized(
            size, build_journal_state, lease.execution_id, head, rows, self.encryption
        )

    async def resumptions(self, lease: Lease) -> dict[str, Resumption]:
        """Return the resumptions of waiting nodes, by node id."""
        return await self._reader.run(
            lambda connection: read_resumptions(connection, lease, self.encryption), snapshot=False
        )

    async def resume(self, execution_id: str, node_id: str, resumption: Resumption) -> None:
        """Store the resumption of a waiting node, for the current or the next owner.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
            NotWaitingError: If the node does not wait or is already resumed.
            WaitingForChildError: If the node waits for a child execution.
            TaskNeedsAssigneesError: If the node has a task for several people.
        """
        await self._writer.run(
            lambda connection: resume_node(
                connection, execution_id, node_id, resumption, to_text(self._clock())
            )
        )

    async def expire(self, lease: Lease, node_ids: Sequence[str]) -> dict[str, Resumption]:
        """End the waits of nodes whose time has passed, unless they were resumed before.

        Returns:
            The resumptions of all waiting nodes, by node id.

        Raises:
            LeaseLostError: If the execution was taken over or deleted.
        """

        def write(connection: Connection) -> dict[str, Resumption]:
            self._guard(connection, lease, None)
            expire_nodes(connection, lease, node_ids, to_text(self._clock()))
            return read_resumptions(connection, lease, self.encryption)

        return await self._writer.run(write)

    async def park(
        self, lease: Lease, due: datetime | None, permit_waits: Sequence[str] = ()
    ) -> None:
        """Release the execution as ``waiting`` until ``due``.

        If it was resumed or cancelled in the meantime, or one of the nodes ``permit_waits`` has got
        its permit, it is claimable at once.
        """
        resumed = is_resumed(lease)

        def write(connection: Connection) -> None:
            self._guard(connection, lease, None)
            parked = connection.execute(
                update(executions)
                .where(executions.c.id == lease.execution_id, HAS_NOT_ENDED)
                .values(status=ExecutionStatus.WAITING)
            )
            if parked.rowcount != 1:
                raise _lost_lease_error(connection, lease)
            now, next_due = to_text(self._clock()), None if due is None else to_text(due)
            if permit_waits and park_requests(connection, lease, permit_waits, now):
                next_due = CLAIMABLE_NOW
            connection.execute(
                update(runs)
                .where(runs.c.executionId == lease.execution_id)
                .values(
                    owner=None,
                    claimableAt=case(
                        (or_(runs.c.cancelRequestedAt.is_not(None), resumed), CLAIMABLE_NOW),
                        else_=next_due,
                    ),
                )
            )
            note_change(connection, Change.QUEUE)
            append_execution_events(connection, [lease.execution_id], now)

        await self._writer.run(write)

    async def record_step(
        self,
        lease: Lease,
        seq: int,
        progress: Progress | None,
        current_node_id: str | None,
        changes: NodeChanges,
    ) -> int:
        """Record which node runs ended, were decided or started, in one transaction.

        ``progress`` and ``current_node_id`` are the state after the last of the steps.

        Returns:
            The new sequence number of the execution; every changed row took one.

        Raises:
            LeaseLostError: If the execution was taken over or deleted.
            EndedElsewhereError: If another program has ended the execution.
        """
        after = seq + len(changes)
        changes, large = await replace_in_changes(changes)
        own = replace(changes, earlier=())

        def write(connection: Connection) -> None:
            now = to_text(self._clock())
            organization = lock_awaited_events(connection, lease, changes.ended)
            cancel_abandoned_children(connection, changes.ended, now)
            ended = bool(changes.ended) or any(step.changes.ended for step in changes.earlier)
            self._guard(connection, lease, after, progress, progressed=ended)
            running = connection.execute(
                _SET_CURRENT_NODE, {"execution": lease.execution_id, "current": current_node_id}
            )
            if running.rowcount != 1:
                raise _lost_lease_error(connection, lease)
            large.write(connection, lease.execution_id)
            step = RecordedStep(now, own, progress, current_node_id)
            write_node_runs(connection, lease, seq, [*changes.earlier, step])
            change_waits(connection, lease, changes.ended, organization, now)

        await self._writer.run(write)
        return after

    async def record_retry(self, lease: Lease, seq: int, node_id: str, retry: RetryLater) -> int:
        """Record a failed attempt and the number of the next one."""
        change = {"attempt": retry.attempt, "lastError": retry.error}
        change |= {"failedAttempts": retry.failed_attempts}
        change |= {"nodePercentage": None, "nodeMessage": None}
        return await self._record_change(lease, seq, node_id, change)

    async def record_report(
        self, lease: Lease, seq: int, node_id: str, percentage: int | None, message: str | None
    ) -> int:
        """Record the progress of a running node; ``percentage`` is 0 to 100."""
        change = {"nodePercentage": percentage, "nodeMessage": message}
        return await self._record_change(lease, seq, node_id, change)

    async def _record_change(
        self, lease: Lease, seq: int, node_id: str, values: Mapping[str, object]
    ) -> int:
        def write(connection: Connection) -> None:
            self._guard(connection, lease, seq + 1)
            connection.execute(
                update(logs)
                .where(logs.c.id == row_id(lease, node_id))
                .values(seq=seq + 1, **values)
            )
            rows = [(seq + 1, row_id(lease, node_id))]
            append_node_events(connection, lease.execution_id, rows, to_text(self._clock()))

        await self._writer.run(write)
        return seq + 1

    async def finish(
        self,
        lease: Lease,
        seq: int,
        ending: ExecutionResult,
        changes: NodeChanges = NodeChanges(),  # noqa: B008 - immutable
    ) -> None:
        """Record the end of the execution and the last node runs, in one transaction.

        If another program has ended the execution, its status stays.

        Raises:
            LeaseLostError: If the execution was taken over or deleted.
        """
        changes, large = await replace_in_changes(changes)
        ending = await replace_in_result(ending, large)
        now = to_text(self._clock())

        def write(connection: Connection) -> None:
            lock_relatives(connection, [lease.execution_id])
            self._guard(connection, lease, seq + len(changes), ending.progress)
            large.write(connection, lease.execution_id)
            step = RecordedStep(now, replace(changes, earlier=()), ending.progress)
            write_node_runs(connection, lease, seq, [*changes.earlier, step])
            end_waits(connection, lease, changes.ended, now)
            end_execution(connection, lease.execution_id, ending, now)

        await self._writer.run(write)

    async def abandon(self, lease: Lease, error: str) -> list[str]:
        """End an execution as ``failed`` because of an internal error of the service.

        Returns:
            The reasons of effects of the end that could not be written, such as its callback.

        Raises:
            LeaseLostError: If the execution was taken over or deleted.
        """
        now = to_text(self._clock())

        def write(connection: Connection) -> list[str]:
            lock_relatives(connection, [lease.execution_id])
            self._guard(connection, lease, None)
            return end_without_failing_effects(connection, lease.execution_id, error, now)

        return await self._writer.run(write)

    def _guard(
        self,
        connection: Connection,
        lease: Lease,
        seq: int | None,
        progress: Progress | None = None,
        *,
        progressed: bool = False,
    ) -> None:
        values: dict[str, object] = {
            "execution": lease.execution_id,
            "holder": lease.owner,
            "change": seq,
            "until": to_text(self._clock() + timedelta(seconds=lease.seconds)),
            "flow_run": lease.flow_run_id,
        }
        if progress is not None:
            values["completed"] = progress.completed
            values["failed"] = progress.failed
            values["skipped"] = progress.skipped
            values["stored"] = progress.stored_bytes
            values["progressed"] = progressed
        renewed = connection.execute(
            _RENEW_LEASE if progress is None else _RENEW_LEASE_AND_PROGRESS, values
        )
        if renewed.rowcount != 1:
            raise LeaseLostError(lease.execution_id)


def _lost_lease_error(connection: Connection, lease: Lease) -> LeaseLostError:
    """Return the error for an owned execution that was ended or deleted by another program."""
    ended = was_ended(connection, lease.execution_id)
    return (EndedElsewhereError if ended else LeaseLostError)(lease.execution_id)
