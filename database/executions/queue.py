"""Queue: workers claim executions under a lease, and executions of crashed owners return to it.

Every write is guarded by the status and the owner that it expects. If it changes no row, another
worker was faster.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    Text,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.claim_limits import (
    IS_LIMITED,
    choose_allowed,
    lock_claims,
    unlimited_order,
)
from database.executions.completion import cancel_unowned, lock_relatives
from database.executions.event_log import append_execution_events
from database.executions.fair_order import fair_position, record_turns
from database.executions.foreign_ends import (
    HAS_ENDED,
    has_foreign_ends,
    settle,
    settle_unowned,
)
from database.executions.origins import ExecutionOrigin, origins_of
from database.executions.recovery import isolate_suspects, requeue_expired
from database.executions.releases import release_execution
from database.foreign_values import text_of
from database.records import Lease
from database.tables import executions, runs
from engine.errors import ExecutionNotFoundError
from engine.limits import NO_EXECUTION_LIMITS
from engine.status import ExecutionStatus, allowed_sources, has_ended

CLOCK_TOLERANCE_SECONDS = 60.0
"""Tolerance for leases whose end was computed by a clock that was ahead, in seconds."""


# Statements are built once, because building one takes longer than the database needs for it.
_NOW = bindparam("now", type_=Text)
_IS_WAITING = and_(runs.c.owner.is_(None), runs.c.claimableAt <= _NOW)
_IS_ABANDONED = and_(
    # Not "is not null", so that SQLite uses the index of owned executions.
    runs.c.owner > "",
    # A lease that ends too far in the future counts as expired, because its owner took it before
    # the clock was set back.
    or_(runs.c.claimableAt <= _NOW, runs.c.claimableAt > bindparam("beyond", type_=Text)),
)
_ABANDONED = and_(_IS_ABANDONED, runs.c.executionId.not_in(bindparam("excluded", expanding=True)))
_CLAIMABLE = select(
    exists(select(runs.c.position).where(_ABANDONED)).label("abandoned"),
    exists(select(runs.c.position).where(_IS_WAITING)).label("waiting"),
    # Executions of crashed owners too, because they return to the queue.
    exists(select(runs.c.position).where(IS_LIMITED, runs.c.claimableAt <= _NOW)).label("limited"),
)
_CLAIM = (
    update(runs)
    .where(runs.c.executionId.in_(bindparam("ids", expanding=True)), _IS_WAITING)
    .values(owner=bindparam("holder"), claimableAt=bindparam("until"))
    .returning(
        runs.c.executionId,
        runs.c.organization,
        runs.c.workflowName,
        runs.c.recoveries,
        runs.c.flowRunId,
        runs.c.rerunOf,
        runs.c.failureOf,
        runs.c.traceContext,
        runs.c.endError,
        runs.c.maxConcurrentExecutions,
    )
)
_NEXT_DUE = select(func.min(runs.c.claimableAt)).where(
    runs.c.claimableAt > bindparam("since", type_=Text),
    runs.c.executionId.not_in(bindparam("excluded", expanding=True)),
)
_SET_RUNNING = (
    update(executions)
    .where(executions.c.id.in_(bindparam("ids", expanding=True)))
    .where(
        executions.c.status.in_(
            [*allowed_sources(ExecutionStatus.RUNNING), ExecutionStatus.RUNNING]
        )
    )
    .values(
        status=ExecutionStatus.RUNNING,
        startedAt=func.coalesce(executions.c.startedAt, bindparam("now", type_=Text)),
    )
    .returning(
        executions.c.id,
        executions.c.workflowId,
        executions.c.organizationId,
        executions.c.triggerType,
        executions.c.startedAt,
    )
)
_POSITION = fair_position(or_(runs.c.claimableAt <= _NOW, _IS_ABANDONED))
_CLAIM_ORDER = unlimited_order(_IS_WAITING)
_LINK_FLOW_RUN = (
    update(runs)
    .where(runs.c.executionId == bindparam("execution"), runs.c.owner == bindparam("holder"))
    .values(flowRunId=bindparam("flow_run"))
)
_CANCELLATIONS = (
    select(runs.c.executionId)
    .outerjoin(executions, executions.c.id == runs.c.executionId)
    .where(runs.c.owner == bindparam("holder"))
    .where(or_(runs.c.cancelRequestedAt.is_not(None), executions.c.id.is_(None), HAS_ENDED))
)


@dataclass(frozen=True, slots=True)
class ClaimedExecution:
    """An execution that a worker has just claimed."""

    lease: Lease
    workflow_name: str
    recoveries: int
    """Number of owners that crashed since a node of it last ended."""
    last_flow_run_id: str | None
    """Prefect flow run of the previous owner."""
    origin: ExecutionOrigin
    end_error: str | None = None
    """Reason of an end that an earlier owner could not store; no node may run any more."""
    is_limited: bool = False
    """Whether its document limits the executions of its workflow."""


class Queue:
    """Queue of executions."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self.limits = NO_EXECUTION_LIMITS
        """Limits of ``claim``; the worker sets them. All services must have the same ones."""
        self.holds_back = False
        """Whether an execution may wait for the end of another one of its workflow."""

    def _now(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    def _times(self, lease_seconds: float) -> dict[str, object]:
        beyond = self._now(2 * lease_seconds + CLOCK_TOLERANCE_SECONDS)
        return {"now": self._now(), "beyond": beyond}

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
        times = self._times(lease_seconds)
        excluded = {"excluded": list(excluding)}
        # Reads first, so that an idle service does not take the write lock.
        found = await self._reader.run(
            lambda connection: connection.execute(_CLAIMABLE, {**times, **excluded}).one(),
            snapshot=False,
            brief=True,
        )
        is_limited = bool(self.limits or found.limited)
        # Set before the running executions are counted, so that no later end is missed.
        self.holds_back = bool(found.limited)
        if not found.abandoned and not (limit and found.waiting):
            return []

        def write(connection: Connection) -> list[ClaimedExecution]:
            if is_limited:
                lock_claims(connection)
            times = self._times(lease_seconds)
            if found.abandoned:
                requeue_expired(connection, _ABANDONED, {**times, **excluded})
            suspects, count = None, limit
            if isolate_after is not None:
                suspects, count = isolate_suspects(connection, owner, times, isolate_after, limit)
            values = {**times, "most": count}
            wanted = _IS_WAITING if suspects is None else suspects
            if is_limited:
                ids = choose_allowed(connection, wanted, values, self.limits)
            else:
                order = _CLAIM_ORDER if suspects is None else unlimited_order(wanted)
                ids = connection.scalars(order, values).all()
            if not ids:
                return []
            claimed, organizations = claim_executions(
                connection, ids, owner, self._clock(), lease_seconds
            )
            record_turns(connection, organizations)
            return claimed

        return await self._writer.run(write)

    async def next_due(self, since: datetime, excluding: Sequence[str] = ()) -> datetime | None:
        """Return the first time after ``since`` at which an execution becomes claimable.

        It is due then, or its lease expires. ``since`` is the time of the last claim, so that an
        execution that became due after it is found. ``excluding`` are executions of this worker.
        """
        values = {"since": to_text(since), "excluded": list(excluding)}
        due = await self._reader.run(
            lambda connection: connection.scalar(_NEXT_DUE, values), snapshot=False
        )
        return None if due is None else datetime.fromisoformat(due)

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

    async def expire(self, owners: Collection[str]) -> None:
        """End the leases of owners whose processes have ended; the next claim recovers them."""
        ended = update(runs).where(runs.c.owner.in_(owners))

        def write(connection: Connection) -> None:
            connection.execute(ended.values(claimableAt=self._now()))

        await self._writer.run(write)

    async def cancellations(self, owner: str) -> list[str]:
        """Return the executions that ``owner`` must stop.

        Another service requested their cancellation, or another program ended them.
        """
        return await self._reader.run(
            lambda connection: list(connection.scalars(_CANCELLATIONS, {"holder": owner})),
            snapshot=False,
        )

    async def settle_foreign_ends(self) -> int:
        """Settle unowned executions that another program has ended; return their number."""
        # Reads first, so that an idle service does not take the write lock.
        if not await self._reader.run(has_foreign_ends, snapshot=False):
            return 0
        return await self._writer.run(lambda connection: settle_unowned(connection, self._now()))

    async def release(
        self, lease: Lease, delay_seconds: float = 0, end_error: str | None = None
    ) -> None:
        """Return a claimed execution to the queue, claimable after ``delay_seconds``.

        Running nodes are logged as ``cancelled``; they run again with the execution, unless
        ``end_error`` is the reason of an end that could not be stored.

        Raises:
            LeaseLostError: If the execution has another owner.
        """
        moment = self._clock()
        await self._writer.run(
            lambda connection: release_execution(
                connection, lease, moment, delay_seconds, end_error
            )
        )

    async def link_flow_run(self, lease: Lease, flow_run_id: str) -> None:
        """Record which Prefect flow run executes the execution."""

        def write(connection: Connection) -> None:
            values = {"execution": lease.execution_id, "holder": lease.owner}
            connection.execute(_LINK_FLOW_RUN, {**values, "flow_run": flow_run_id})

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
                note_change(connection, Change.REQUESTS)
            return status

        return await self._writer.run(write)

    def read_position(
        self, connection: Connection, execution_id: str, lease_seconds: float
    ) -> int | None:
        """Return the position in the queue, from 1; ``None`` if the execution is not queued."""
        return connection.scalar(_POSITION, {**self._times(lease_seconds), "id": execution_id})


def claim_executions(
    connection: Connection,
    ids: Sequence[str],
    owner: str,
    moment: datetime,
    lease_seconds: float,
) -> tuple[list[ClaimedExecution], list[str]]:
    """Claim the waiting ones of these executions, in this order; they are ``running`` now.

    Executions that another program has ended leave the queue.

    Returns:
        The claimed executions, and the organizations in the order of their turns.
    """
    now, until = to_text(moment), to_text(moment + timedelta(seconds=lease_seconds))
    values = {"ids": ids, "holder": owner, "now": now, "until": until}
    updated = connection.execute(_CLAIM, values)
    rows = sorted(updated, key=lambda row: ids.index(row.executionId))
    claimed = [row.executionId for row in rows]
    set_running = connection.execute(_SET_RUNNING, {"ids": claimed, "now": now})
    begun = {row.id: row for row in set_running}
    if ended := set(claimed) - begun.keys():
        settle(connection, ended, now)
    append_execution_events(connection, claimed, now)
    origins = origins_of(connection, rows, begun)
    return [
        ClaimedExecution(
            Lease(row.executionId, owner, lease_seconds),
            row.workflowName,
            row.recoveries,
            row.flowRunId,
            origins[row.executionId],
            row.endError,
            row.maxConcurrentExecutions is not None,
        )
        for row in rows
        if row.executionId in begun
    ], [row.organization for row in rows]
