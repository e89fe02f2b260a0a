"""Queue: workers claim executions under a lease, and executions of crashed owners return to it.

Every write is guarded by the status and the owner that it expects. If it changes no row, another
worker was faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Update,
    and_,
    case,
    func,
    or_,
    select,
    update,
)

from database.clock import Clock, to_text
from database.connection.engines import insert_or_ignore
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.completion import cancel_unowned, lock_relatives
from database.executions.event_log import append_execution_events
from database.executions.foreign_ends import (
    HAS_ENDED,
    has_foreign_ends,
    settle,
    settle_unowned,
    was_ended,
)
from database.executions.node_runs import cancel_node_runs
from database.executions.recovery import isolate_suspects, requeue_expired
from database.foreign_values import text_of
from database.records import Lease
from database.tables import CLAIMABLE_NOW, executions, fairness, runs
from engine.errors import ExecutionNotFoundError, LeaseLostError
from engine.status import ExecutionStatus, allowed_sources, has_ended

CLOCK_TOLERANCE_SECONDS = 60.0
"""Tolerance for leases whose end was computed by a clock that was ahead, in seconds."""


@dataclass(frozen=True, slots=True)
class ClaimedExecution:
    """An execution that a worker has just claimed."""

    lease: Lease
    workflow_name: str
    recoveries: int
    """Number of owners that crashed since a node of it last ended."""
    last_flow_run_id: str | None
    """Prefect flow run of the previous owner."""


class Queue:
    """Queue of executions."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _now(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    def _is_claimable(self, lease_seconds: float) -> ColumnElement[bool]:
        return or_(runs.c.claimableAt <= self._now(), self._is_abandoned(lease_seconds))

    def _is_abandoned(self, lease_seconds: float) -> ColumnElement[bool]:
        """Return the condition for owned executions whose lease expired.

        A lease that ends too far in the future counts as expired, because its owner took it before
        the clock was set back.
        """
        beyond = self._now(2 * lease_seconds + CLOCK_TOLERANCE_SECONDS)
        return and_(
            # Not "is not null", so that SQLite uses the index of owned executions.
            runs.c.owner > "",
            or_(runs.c.claimableAt <= self._now(), runs.c.claimableAt > beyond),
        )

    async def claim(
        self,
        owner: str,
        limit: int,
        lease_seconds: float,
        excluding: Sequence[str] = (),
        isolate_after: int | None = None,
    ) -> list[ClaimedExecution]:
        """Claim up to ``limit`` executions for ``owner``; they are ``running`` now.

        Executions of crashed owners return to the queue first, also if ``limit`` is 0, so that a
        start and a recovery are the same. Organizations take turns; within one, the oldest
        execution is first. ``excluding`` are executions that ``owner`` runs already, in case its
        heartbeat is late. An execution with ``isolate_after`` recoveries runs alone; see
        ``recovery.isolate_suspects``.
        """
        abandoned = and_(self._is_abandoned(lease_seconds), runs.c.executionId.not_in(excluding))
        waiting = and_(runs.c.owner.is_(None), runs.c.claimableAt <= self._now())
        # Reads first, so that an idle service does not take the write lock.
        wanted = or_(abandoned, waiting) if limit else abandoned
        first = select(runs.c.position).where(wanted).limit(1)
        if await self._reader.run(lambda connection: connection.scalar(first)) is None:
            return []

        def write(connection: Connection) -> list[ClaimedExecution]:
            requeue_expired(connection, abandoned, self._now())
            claimable, count = waiting, limit
            if isolate_after is not None:
                claimable, most = isolate_suspects(connection, owner, waiting, isolate_after)
                count = limit if most is None else min(limit, most)
            ids = connection.scalars(fair_order(claimable).limit(count)).all()
            updated = connection.execute(
                update(runs)
                .where(runs.c.executionId.in_(ids), claimable)
                .values(owner=owner, claimableAt=self._now(lease_seconds))
                .returning(
                    runs.c.executionId,
                    runs.c.organization,
                    runs.c.workflowName,
                    runs.c.recoveries,
                    runs.c.flowRunId,
                )
            )
            claimed = sorted(updated, key=lambda row: ids.index(row.executionId))
            begun = self._set_running(connection, [row.executionId for row in claimed])
            append_execution_events(connection, [row.executionId for row in claimed], self._now())
            self._record_turns(connection, [row.organization for row in claimed])
            return [
                ClaimedExecution(
                    Lease(row.executionId, owner, lease_seconds),
                    row.workflowName,
                    row.recoveries,
                    row.flowRunId,
                )
                for row in claimed
                if row.executionId in begun
            ]

        return await self._writer.run(write)

    def _set_running(self, connection: Connection, ids: Sequence[str]) -> set[str]:
        """Set the status; executions that another program has ended leave the queue."""
        now = self._now()
        before = [*allowed_sources(ExecutionStatus.RUNNING), ExecutionStatus.RUNNING]
        begun = {
            row.id
            for row in connection.execute(
                update(executions)
                .where(executions.c.id.in_(ids), executions.c.status.in_(before))
                .values(
                    status=ExecutionStatus.RUNNING,
                    startedAt=func.coalesce(executions.c.startedAt, now),
                )
                .returning(executions.c.id)
            )
        }
        if ended := set(ids) - begun:
            settle(connection, ended, now)
        return begun

    def _record_turns(self, connection: Connection, organizations: Sequence[str]) -> None:
        """Record which organizations were served, in this order; the last time counts."""
        last = connection.scalar(select(func.coalesce(func.max(fairness.c.lastServed), 0))) or 0
        served = {organization: turn for turn, organization in enumerate(organizations, last + 1)}
        for organization, turn in served.items():
            connection.execute(
                insert_or_ignore(connection.dialect.name, fairness),
                {"organization": organization, "lastServed": 0},
            )
            connection.execute(
                update(fairness)
                .where(fairness.c.organization == organization)
                .values(lastServed=turn)
            )

    async def renew(
        self, owner: str, execution_ids: Sequence[str], lease_seconds: float
    ) -> set[str]:
        """Renew the leases of ``owner`` on these executions; return the ids that it still owns.

        An expired lease still belongs to its owner until another worker claims the execution.
        """

        def write(connection: Connection) -> set[str]:
            renewed = connection.execute(
                update(runs)
                .where(runs.c.owner == owner, runs.c.executionId.in_(execution_ids))
                .values(claimableAt=self._now(lease_seconds))
                .returning(runs.c.executionId)
            )
            return {row.executionId for row in renewed}

        return await self._writer.run(write)

    async def cancellations(self, owner: str) -> list[str]:
        """Return the executions that ``owner`` must stop.

        Another service requested their cancellation, or another program ended them.
        """
        query = (
            select(runs.c.executionId)
            .outerjoin(executions, executions.c.id == runs.c.executionId)
            .where(runs.c.owner == owner)
            .where(or_(runs.c.cancelRequestedAt.is_not(None), executions.c.id.is_(None), HAS_ENDED))
        )
        return await self._reader.run(lambda connection: list(connection.scalars(query)))

    async def settle_foreign_ends(self) -> int:
        """Settle unowned executions that another program has ended; return their number."""
        # Reads first, so that an idle service does not take the write lock.
        if not await self._reader.run(has_foreign_ends):
            return 0
        return await self._writer.run(lambda connection: settle_unowned(connection, self._now()))

    async def release(self, lease: Lease, delay_seconds: float = 0) -> None:
        """Return a claimed execution to the queue, claimable after ``delay_seconds``.

        Running nodes are logged as ``cancelled``; they run again with the execution.

        Raises:
            LeaseLostError: If the execution has another owner.
        """

        def write(connection: Connection) -> None:
            cancel_node_runs(connection, [lease.execution_id], self._now())
            due = self._now(delay_seconds) if delay_seconds else CLAIMABLE_NOW
            released = connection.execute(
                update(runs)
                .where(runs.c.executionId == lease.execution_id, runs.c.owner == lease.owner)
                .values(
                    owner=None,
                    claimableAt=case(
                        (runs.c.cancelRequestedAt.is_not(None), CLAIMABLE_NOW), else_=due
                    ),
                )
            )
            updated = connection.execute(
                transition_update(ExecutionStatus.PENDING, lease.execution_id, currentNodeId=None)
            )
            if released.rowcount == 1 and was_ended(connection, lease.execution_id):
                settle(connection, [lease.execution_id], self._now())
                return
            if released.rowcount != 1 or updated.rowcount != 1:
                raise LeaseLostError(lease.execution_id)
            append_execution_events(connection, [lease.execution_id], self._now())

        await self._writer.run(write)

    async def link_flow_run(self, lease: Lease, flow_run_id: str) -> None:
        """Record which Prefect flow run executes the execution."""

        def write(connection: Connection) -> None:
            connection.execute(
                update(runs)
                .where(runs.c.executionId == lease.execution_id, runs.c.owner == lease.owner)
                .values(flowRunId=flow_run_id)
            )

        await self._writer.run(write)

    async def request_cancel(self, execution_id: str) -> str:
        """Request the cancellation of an execution; without an owner it ends at once.

        Returns:
            The previous status.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """
        now = self._now()

        def write(connection: Connection) -> str:
            lock_relatives(connection, [execution_id])
            found = connection.execute(
                select(executions.c.status, runs.c.owner)
                .outerjoin(runs, runs.c.executionId == executions.c.id)
                .where(executions.c.id == execution_id)
            ).first()
            if found is None:
                raise ExecutionNotFoundError(execution_id)
            status = text_of(found.status) or ExecutionStatus.PENDING
            if has_ended(status):
                return status
            if found.owner is None:
                cancel_unowned(connection, [execution_id], now)
            else:
                request = update(runs).where(runs.c.executionId == execution_id)
                connection.execute(request.values(cancelRequestedAt=now))
            return status

        return await self._writer.run(write)

    async def position(self, execution_id: str, lease_seconds: float) -> int | None:
        """Return the position in the queue, from 1; ``None`` if the execution is not queued."""
        return await self._reader.run(
            lambda connection: self.read_position(connection, execution_id, lease_seconds)
        )

    def read_position(
        self, connection: Connection, execution_id: str, lease_seconds: float
    ) -> int | None:
        """Return the position in the queue; see ``position``."""
        waiting = _fairly_ranked(self._is_claimable(lease_seconds))
        number = func.row_number().over(order_by=_fair_key(waiting)).label("number")
        numbered = (
            select(waiting.c.executionId, number)
            .outerjoin(fairness, fairness.c.organization == waiting.c.organization)
            .subquery()
        )
        own = numbered.c.executionId == execution_id
        return connection.scalar(select(numbered.c.number).where(own))


def fair_order(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return executions in the order of claims: organizations take turns, oldest first."""
    waiting = _fairly_ranked(wanted)
    return (
        select(waiting.c.executionId)
        .outerjoin(fairness, fairness.c.organization == waiting.c.organization)
        .order_by(*_fair_key(waiting))
    )


def _fairly_ranked(wanted: ColumnElement[bool]) -> Subquery:
    """Return executions with their rank within their organization."""
    rank = func.row_number().over(partition_by=runs.c.organization, order_by=runs.c.position)
    columns = (runs.c.executionId, runs.c.organization, runs.c.position, rank.label("rank"))
    return select(*columns).where(wanted).subquery()


def _fair_key(waiting: Subquery) -> list[ColumnElement[Any]]:
    return [waiting.c.rank, func.coalesce(fairness.c.lastServed, 0), waiting.c.position]


def transition_update(status: ExecutionStatus, execution_id: str, **values: Any) -> Update:
    """Return a guarded update that changes no row for which ``status`` is not allowed."""
    before: Sequence[ExecutionStatus] = allowed_sources(status)
    return (
        update(executions)
        .where(executions.c.id == execution_id, executions.c.status.in_(before))
        .values(status=status, **values)
    )
