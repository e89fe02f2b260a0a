"""The queue: executions come in, are claimed under a lease, and go back when their owner is gone.

Every write is guarded: it names the status and the owner that it expects, and where it changes no
row somebody else has decided.
"""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Select, Update, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from database.clock import Clock, to_text
from database.connection import insert_if_new
from database.reader import Reader
from database.records import ClaimedRun, Lease, Submission
from database.tables import definitions, executions, logs, runs, workflows
from database.writer import Writer
from engine.errors import (
    ExecutionNotFoundError,
    LeaseLostError,
    OrganizationRefusedError,
    WorkflowNotFoundError,
)
from engine.status import TERMINAL, ExecutionStatus, NodeStatus, may_become


class Queue:
    """Taking executions in and handing them out."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._left_some = False

    def _now(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    async def submit(self, submission: Submission) -> None:
        """Stores an execution as ``pending``, with the definition it will run.

        Raises:
            WorkflowNotFoundError: the workflow was deleted in the meantime.
            OrganizationRefusedError: the main project's tables know no such organization.
            StorageError: nothing was stored.
        """
        try:
            await self._writer.run(lambda connection: self._insert(connection, submission))
        except IntegrityError:
            there = select(workflows.c.id).where(workflows.c.id == submission.workflow_id)
            if await self._reader.run(lambda connection: connection.scalar(there)) is None:
                raise WorkflowNotFoundError(submission.workflow_id) from None
            if submission.organization_id is None:
                raise
            raise OrganizationRefusedError(submission.organization_id) from None

    def _insert(self, connection: Connection, submission: Submission) -> None:
        now = self._now()
        digest = sha256(submission.document.encode()).hexdigest()
        connection.execute(
            insert_if_new(connection, definitions),
            {"hash": digest, "document": submission.document, "createdAt": now},
        )
        connection.execute(
            executions.insert().values(
                id=submission.execution_id,
                workflowId=submission.workflow_id,
                organizationId=submission.organization_id,
                status=ExecutionStatus.PENDING,
                triggerType=submission.trigger_type,
                inputs=submission.inputs,
                createdAt=now,
            )
        )
        connection.execute(
            runs.insert().values(
                executionId=submission.execution_id,
                definitionHash=digest,
                workflowName=submission.workflow_name,
                totalNodes=submission.total_nodes,
            )
        )

    def _claimable(self, now: str, excluding: Sequence[str]) -> Select[Any, Any]:
        """Pending executions, and running ones whose owner's lease ran out; oldest first."""
        return (
            select(runs.c.executionId, runs.c.workflowName)
            .join(executions, executions.c.id == runs.c.executionId)
            .where(
                runs.c.endedAt.is_(None),
                runs.c.executionId.not_in(excluding),
                or_(runs.c.notBefore.is_(None), runs.c.notBefore <= now),
                # For pending ones too, whose lease is empty: of a row that somebody else claimed
                # while this one waited, PostgreSQL looks anew at what is locked alone, ``runs``.
                or_(runs.c.leaseUntil.is_(None), runs.c.leaseUntil < now),
                executions.c.status.in_((ExecutionStatus.PENDING, ExecutionStatus.RUNNING)),
            )
            .order_by(runs.c.position)
        )

    async def claim(
        self, owner: str, limit: int, lease_seconds: float, excluding: Sequence[str] = ()
    ) -> list[ClaimedRun]:
        """Up to ``limit`` executions that now are ``running`` and belong to ``owner``.

        Beginning and going on after a crash are the same: what a dead owner left is claimable.
        ``excluding``: what ``owner`` carries already, should it be late with its heartbeat.
        """
        # Looking first keeps an idle service from taking the write lock again and again.
        waiting = self._claimable(self._now(), excluding).limit(1)
        if (
            not self._left_some
            and await self._reader.run(lambda connection: connection.scalar(waiting)) is None
        ):
            return []

        def write(connection: Connection) -> list[ClaimedRun]:
            now = self._now()
            locked = (
                self._claimable(now, excluding)
                .limit(limit)
                .with_for_update(of=runs, skip_locked=True)
            )
            found = connection.execute(locked).all()
            ids = [row.executionId for row in found]
            connection.execute(
                update(runs)
                .where(runs.c.executionId.in_(ids))
                .values(
                    owner=owner,
                    leaseUntil=self._now(lease_seconds),
                    notBefore=None,
                    claims=runs.c.claims + 1,
                )
            )
            connection.execute(
                update(executions)
                .where(executions.c.id.in_(ids))
                .values(
                    status=ExecutionStatus.RUNNING,
                    startedAt=func.coalesce(executions.c.startedAt, now),
                )
            )
            return [
                ClaimedRun(Lease(row.executionId, owner, lease_seconds), row.workflowName)
                for row in found
            ]

        claimed = await self._writer.run(write)
        self._left_some = len(claimed) == limit
        return claimed

    async def renew(self, owner: str, lease_seconds: float) -> dict[str, bool]:
        """The heartbeat: renews every lease of ``owner``.

        A lease that ran out and that nobody took over is still its owner's: only a claim gives an
        execution to somebody else.

        Returns:
            The executions that ``owner`` still holds, with whether they shall be cancelled.
        """

        def write(connection: Connection) -> dict[str, bool]:
            connection.execute(
                update(runs)
                .where(runs.c.owner == owner, runs.c.endedAt.is_(None))
                .values(leaseUntil=self._now(lease_seconds))
            )
            held = select(runs.c.executionId, runs.c.cancelRequestedAt).where(
                runs.c.owner == owner, runs.c.endedAt.is_(None)
            )
            rows = connection.execute(held).all()
            return {row.executionId: row.cancelRequestedAt is not None for row in rows}

        return await self._writer.run(write)

    async def release(self, lease: Lease, delay_seconds: float = 0) -> None:
        """Puts a claimed execution back, to be claimed again after ``delay_seconds``.

        Nodes that were in flight are logged ``cancelled``; they run again with the execution.

        Raises:
            LeaseLostError: it is no longer this owner's.
        """

        def write(connection: Connection) -> None:
            released = connection.execute(
                update(runs)
                .where(runs.c.executionId == lease.execution_id, runs.c.owner == lease.owner)
                .where(runs.c.endedAt.is_(None))
                .values(
                    owner=None,
                    leaseUntil=None,
                    notBefore=self._now(delay_seconds) if delay_seconds else None,
                )
            )
            back = connection.execute(
                _to_status(ExecutionStatus.PENDING, lease.execution_id, currentNodeId=None)
            )
            if released.rowcount != 1 or back.rowcount != 1:
                raise LeaseLostError(lease.execution_id)
            connection.execute(
                update(logs)
                .where(logs.c.executionId == lease.execution_id)
                .where(logs.c.status == NodeStatus.RUNNING)
                .values(status=NodeStatus.CANCELLED)
            )

        await self._writer.run(write)

    async def link_flow_run(self, lease: Lease, flow_run_id: str) -> None:
        """Notes which Prefect flow run carries the execution out."""

        def write(connection: Connection) -> None:
            connection.execute(
                update(runs)
                .where(runs.c.executionId == lease.execution_id, runs.c.owner == lease.owner)
                .values(flowRunId=flow_run_id)
            )

        await self._writer.run(write)

    async def request_cancel(self, execution_id: str) -> ExecutionStatus:
        """Asks for an execution to end ``cancelled``; one that nobody runs does so at once.

        Returns:
            The status before.

        Raises:
            ExecutionNotFoundError: there is none of that id.
        """
        now = self._now()

        def write(connection: Connection) -> ExecutionStatus:
            found = connection.execute(
                select(executions.c.status, runs.c.owner)
                .outerjoin(runs, runs.c.executionId == executions.c.id)
                .where(executions.c.id == execution_id)
            ).first()
            if found is None:
                raise ExecutionNotFoundError(execution_id)
            status = ExecutionStatus(found.status or ExecutionStatus.PENDING)
            if status in TERMINAL:
                return status
            at_once = status != ExecutionStatus.RUNNING or found.owner is None
            if at_once:
                connection.execute(
                    _to_status(ExecutionStatus.CANCELLED, execution_id, completedAt=now)
                )
            connection.execute(
                update(runs)
                .where(runs.c.executionId == execution_id)
                .values(
                    cancelRequestedAt=now,
                    endedAt=now if at_once else None,
                    seq=runs.c.seq + (1 if at_once else 0),
                )
            )
            return status

        return await self._writer.run(write)


def _to_status(status: ExecutionStatus, execution_id: str, **values: Any) -> Update:
    """A guarded change of status: it changes no row that may not enter ``status``."""
    before: Sequence[ExecutionStatus] = may_become(status)
    return (
        update(executions)
        .where(executions.c.id == execution_id, executions.c.status.in_(before))
        .values(status=status, **values)
    )
