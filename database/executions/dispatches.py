"""Dispatches: executions that Prefect's work pool assigns to workers.

The queue remains in ``orchestrator_runs``. A dispatch submits a flow run for a claimable execution,
and the worker that Prefect selects claims this execution. A row with ``dispatchedAt`` has a flow
run that no worker has used yet. A second flow run for an execution has no effect, because its claim
finds nothing to claim. Therefore a dispatch may be repeated whenever its result is unknown.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    Connection,
    Integer,
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
    IS_OWNED,
    choose_allowed,
    lock_claims,
    unlimited_order,
)
from database.executions.fair_order import record_turns
from database.executions.queue import ClaimedExecution, claim_executions
from database.tables import runs
from engine.limits import NO_EXECUTION_LIMITS

_NOW = bindparam("now", type_=Text)
_IS_WAITING = and_(runs.c.owner.is_(None), runs.c.claimableAt <= _NOW)
_IS_DUE = and_(_IS_WAITING, runs.c.dispatchedAt.is_(None))
_IS_DISPATCHED = and_(_IS_WAITING, runs.c.dispatchedAt.is_not(None))
_HAS_DUE = select(
    exists(select(runs.c.position).where(_IS_DUE)).label("due"),
    exists(select(runs.c.position).where(IS_LIMITED, _IS_DUE)).label("limited"),
)
_COUNT_DISPATCHED = select(func.count()).select_from(runs).where(_IS_DISPATCHED)
_DUE_ORDER = unlimited_order(_IS_DUE)
_RESERVE = (
    update(runs)
    .where(runs.c.executionId.in_(bindparam("ids", expanding=True)), _IS_DUE)
    .values(
        dispatchedAt=_NOW,
        dispatchAttempt=func.coalesce(runs.c.dispatchAttempt, 0) + 1,
        dispatchFlowRunId=None,
    )
    .returning(
        runs.c.executionId,
        runs.c.organization,
        runs.c.dispatchAttempt,
        runs.c.workflowName,
    )
)
_UNCONFIRMED = (
    select(
        runs.c.executionId,
        runs.c.dispatchAttempt,
        runs.c.dispatchFlowRunId,
        (runs.c.dispatchedAt <= bindparam("overdue", type_=Text)).label("is_overdue"),
    )
    .where(_IS_DISPATCHED, runs.c.dispatchedAt <= bindparam("before", type_=Text))
    .order_by(runs.c.dispatchedAt)
    .limit(bindparam("most"))
)
_THIS_DISPATCH = and_(
    runs.c.executionId == bindparam("execution"),
    runs.c.dispatchAttempt == bindparam("attempt"),
    runs.c.dispatchedAt.is_not(None),
    runs.c.owner.is_(None),
)
_IS_CANDIDATE = and_(runs.c.executionId == bindparam("execution"), _IS_WAITING)
_CANDIDATE = select(runs.c.recoveries, runs.c.maxConcurrentExecutions).where(_IS_CANDIDATE)
_SUSPECT = runs.c.recoveries >= bindparam("suspect_after", type_=Integer)
_OWNED = runs.c.owner == bindparam("holder", type_=Text)
_OWNED_RUNS = select(
    exists(select(runs.c.position).where(_OWNED)).label("any"),
    exists(select(runs.c.position).where(_OWNED, _SUSPECT)).label("suspect"),
)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One submission of a flow run for an execution."""

    execution_id: str
    attempt: int
    """Number of the flow run of this execution, from 1."""
    workflow_name: str = ""
    flow_run_id: str | None = None
    """The submitted flow run; ``None`` if it is not known whether one exists."""
    is_overdue: bool = False
    """Whether a worker that received the flow run should have claimed the execution by now."""


class IsolationPendingError(Exception):
    """The worker must end other executions before it may claim this one."""


class LimitReachedError(Exception):
    """A limit of executions does not allow another one now (MAX_CONCURRENT_EXECUTIONS_PER_…)."""


class Dispatches:
    """Records which executions have been submitted to a work pool."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self.limits = NO_EXECUTION_LIMITS
        """Limits of executions; the worker sets them."""
        self.holds_back = False
        """Whether an execution may wait for the end of another one of its workflow."""

    def _now(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    async def reserve(self, max_unclaimed: int, limit: int) -> list[Dispatch]:
        """Return up to ``limit`` claimable executions; their flow runs must be submitted now.

        At most ``max_unclaimed`` executions have a flow run that waits for a worker, so that the
        others keep the fair order of organizations.
        """
        # Reads first, so that an idle service does not take the write lock.
        found = await self._reader.run(
            lambda connection: connection.execute(_HAS_DUE, self._times()).one()
        )
        is_limited = bool(self.limits or found.limited)
        # Set before the running executions are counted, so that no later end is missed.
        self.holds_back = bool(found.limited)
        if not found.due:
            return []

        def write(connection: Connection) -> list[Dispatch]:
            if is_limited:
                lock_claims(connection)
            times = self._times()
            free = max_unclaimed - connection.execute(_COUNT_DISPATCHED, times).scalar_one()
            if free <= 0:
                return []
            order = {**times, "most": min(free, limit)}
            if is_limited:
                counted = or_(IS_OWNED, _IS_DISPATCHED)
                ids = choose_allowed(connection, _IS_DUE, order, self.limits, counted)
            else:
                ids = connection.scalars(_DUE_ORDER, order).all()
            if not ids:
                return []
            updated = connection.execute(_RESERVE, {**times, "ids": ids})
            rows = sorted(updated, key=lambda row: ids.index(row.executionId))
            record_turns(connection, [row.organization for row in rows])
            return [
                Dispatch(row.executionId, row.dispatchAttempt, row.workflowName) for row in rows
            ]

        return await self._writer.run(write)

    def _times(self) -> dict[str, object]:
        return {"now": self._now()}

    async def confirm(self, dispatch: Dispatch, flow_run_id: str) -> None:
        """Record the flow run of a dispatch, or that it still waits for a worker."""

        def write(connection: Connection) -> None:
            note_change(connection, Change.DISPATCHES)
            values = {"dispatchFlowRunId": flow_run_id, "dispatchedAt": self._now()}
            connection.execute(update(runs).where(_THIS_DISPATCH).values(values), _key(dispatch))

        await self._writer.run(write)

    async def withdraw(self, dispatch: Dispatch) -> None:
        """Make an execution due again, because its flow run will not claim it.

        The next dispatch has the same number if no flow run is known. Prefect then returns the
        existing flow run if there is one, because its idempotency key contains the number.
        """
        attempt = dispatch.attempt - (dispatch.flow_run_id is None)

        def write(connection: Connection) -> None:
            values = {"dispatchedAt": None, "dispatchFlowRunId": None, "dispatchAttempt": attempt}
            connection.execute(update(runs).where(_THIS_DISPATCH).values(values), _key(dispatch))

        await self._writer.run(write)

    async def withdraw_flow_run(self, execution_id: str, flow_run_id: str) -> None:
        """Make an execution due again, because its worker stops before it claims the execution."""

        def write(connection: Connection) -> None:
            connection.execute(
                update(runs)
                .where(
                    runs.c.executionId == execution_id,
                    or_(
                        runs.c.dispatchFlowRunId == flow_run_id,
                        runs.c.dispatchFlowRunId.is_(None),
                    ),
                )
                .values(dispatchedAt=None)
            )

        await self._writer.run(write)

    async def unconfirmed(
        self, age_seconds: float, overdue_seconds: float, limit: int
    ) -> list[Dispatch]:
        """Return dispatches that no worker has used for ``age_seconds``, oldest first.

        Those without a claim for ``overdue_seconds`` are overdue.
        """
        ages = {"before": self._now(-age_seconds), "overdue": self._now(-overdue_seconds)}
        values = {**self._times(), **ages, "most": limit}

        def read(connection: Connection) -> list[Dispatch]:
            return [
                Dispatch(
                    row.executionId,
                    row.dispatchAttempt,
                    "",
                    row.dispatchFlowRunId,
                    bool(row.is_overdue),
                )
                for row in connection.execute(_UNCONFIRMED, values)
            ]

        return await self._reader.run(read)

    async def claim(
        self, owner: str, execution_id: str, lease_seconds: float, isolate_after: int
    ) -> ClaimedExecution | None:
        """Claim one execution; return ``None`` if another worker has claimed it, or it has ended.

        Raises:
            IsolationPendingError: If this execution, or one that ``owner`` runs, may have crashed
                its owners (``isolate_after`` recoveries), so that it must run alone.
            LimitReachedError: If a limit of executions does not allow it now.
        """
        # Reads first, because a flow run whose execution was claimed already is not rare.
        key = {"execution": execution_id, "now": self._now()}
        found = await self._reader.run(
            lambda connection: connection.execute(_CANDIDATE, key).first()
        )
        if found is None:
            return None
        is_limited = bool(self.limits) or found.maxConcurrentExecutions is not None

        def write(connection: Connection) -> ClaimedExecution | None:
            if is_limited:
                lock_claims(connection)
            moment = self._clock()
            recoveries = connection.scalar(_CANDIDATE, {**key, "now": to_text(moment)})
            if recoveries is None:
                return None
            values = {"holder": owner, "suspect_after": isolate_after}
            owned = connection.execute(_OWNED_RUNS, values).one()
            if owned.suspect or (owned.any and recoveries >= isolate_after):
                raise IsolationPendingError
            ids = [execution_id]
            if is_limited:
                candidate = {**key, "now": to_text(moment), "most": 1}
                if not choose_allowed(connection, _IS_CANDIDATE, candidate, self.limits):
                    raise LimitReachedError
            claimed, _ = claim_executions(connection, ids, owner, moment, lease_seconds)
            _end_dispatches(connection, ids)
            return claimed[0] if claimed else None

        return await self._writer.run(write)


def _key(dispatch: Dispatch) -> dict[str, object]:
    return {"execution": dispatch.execution_id, "attempt": dispatch.attempt}


def _end_dispatches(connection: Connection, ids: Collection[str]) -> None:
    """Record that the executions have an owner, so that a later wait needs another flow run."""
    ended = {"dispatchedAt": None, "dispatchFlowRunId": None}
    connection.execute(update(runs).where(runs.c.executionId.in_(ids)).values(ended))
