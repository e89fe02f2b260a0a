"""Callbacks: who shall be told how an execution ended, who tells it, and what came of that.

A callback is claimed under a lease like an execution, for one attempt. ``dueAt`` is queue, lease
and timer in one, as ``claimableAt`` is for executions.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import Connection, bindparam, delete, func, or_, select, update

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.tables import callbacks, runs
from engine.errors import ExecutionNotFoundError, LeaseLostError

DELIVERY_DEADLINE = timedelta(days=1)
"""After the end of the execution: from then on an attempt that fails is the last one."""
MAX_DUE_AHEAD = timedelta(hours=2)
"""A callback that is due later than this from now was put off by a clock that has been set back."""

_MAKE_DUE = (
    update(callbacks)
    .where(callbacks.c.executionId.in_(bindparam("ended", expanding=True)))
    .where(callbacks.c.deliveredAt.is_(None), callbacks.c.abandonedAt.is_(None))
    .values(dueAt=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One attempt to deliver a callback, claimed by ``owner``."""

    execution_id: str
    owner: str
    url: str
    attempt: int
    """Counted from 1, over restarts; with ``owner`` it tells this claim from every other."""
    workflow_name: str
    final_attempt_after: str
    """From this moment on no other attempt follows one that failed."""


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """Why an attempt came to nothing; ``status`` is the answer's, if there was one."""

    error: str
    status: int | None = None
    is_final: bool = False
    """Another attempt would fare no better."""


@dataclass(frozen=True, slots=True)
class CallbackStatus:
    """How far a callback is; ``url`` without its query, which may hold a secret."""

    url: str
    attempts: int
    delivered_at: str | None
    next_attempt_at: str | None
    """``None`` also while it is being sent."""
    abandoned_at: str | None
    last_status: int | None
    last_error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has accepted the callback."""
        return self.delivered_at is not None


def add_callback(connection: Connection, execution_id: str, url: str) -> None:
    """Notes who shall be told, in the transaction that stores the execution."""
    host = urlsplit(url).netloc.lower()
    connection.execute(callbacks.insert().values(executionId=execution_id, host=host, url=url))


def make_due(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """The executions end now: has their callbacks sent, in the transaction that ends them."""
    connection.execute(_MAKE_DUE, {"ended": list(execution_ids), "now": now})


class Callbacks:
    """Handing callbacks out, and recording what came of them."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _now(self) -> str:
        return to_text(self._clock())

    def _max_due(self) -> str:
        return to_text(self._clock() + MAX_DUE_AHEAD)

    async def due_by_host(self) -> dict[str, int]:
        """How many callbacks are due by host, the one that has waited longest first."""
        query = (
            select(callbacks.c.host, func.count())
            .where(or_(callbacks.c.dueAt <= self._now(), callbacks.c.dueAt > self._max_due()))
            .group_by(callbacks.c.host)
            .order_by(func.min(callbacks.c.dueAt))
        )
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return {host: count for host, count in rows}  # noqa: C416 - rows are no pairs to a checker

    async def claim(self, owner: str, host: str, lease_seconds: float) -> CallbackAttempt | None:
        """One callback to ``host`` that is due, the oldest; ``None`` where others took them all.

        Should ``owner`` neither record the attempt nor put it back, it is due again when the lease
        ends.
        """

        def write(connection: Connection) -> CallbackAttempt | None:
            now = self._now()
            mine = None
            for due in (callbacks.c.dueAt <= now, callbacks.c.dueAt > self._max_due()):
                oldest = select(callbacks.c.executionId).where(callbacks.c.host == host, due)
                oldest = oldest.order_by(callbacks.c.dueAt).limit(1)
                mine = connection.scalar(oldest.with_for_update(skip_locked=True))
                if mine is not None:
                    break
            if mine is None:
                return None
            # Not read and compared: on PostgreSQL the row is locked, on SQLite the whole database.
            taken = connection.execute(
                update(callbacks)
                .where(callbacks.c.executionId == mine)
                .values(
                    owner=owner,
                    dueAt=to_text(self._clock() + timedelta(seconds=lease_seconds)),
                    attempts=callbacks.c.attempts + 1,
                    lastAttemptAt=now,
                )
                .returning(callbacks.c.url, callbacks.c.attempts)
            ).one()
            run = connection.execute(
                select(runs.c.workflowName, runs.c.endedAt).where(runs.c.executionId == mine)
            ).first()
            if run is None:  # deleted by somebody who does not enforce foreign keys
                connection.execute(delete(callbacks).where(callbacks.c.executionId == mine))
                return None
            last_try = to_text(datetime.fromisoformat(run.endedAt) + DELIVERY_DEADLINE)
            return CallbackAttempt(
                mine, owner, taken.url, taken.attempts, run.workflowName, last_try
            )

        return await self._writer.run(write)

    async def record_delivery(self, delivery: CallbackAttempt, status: int) -> None:
        """Records that the receiver has taken it.

        Raises:
            LeaseLostError: the lease ran out and somebody else sends it.
            ExecutionNotFoundError: it was deleted.
        """
        now = self._now()
        await self._record(delivery, dueAt=None, deliveredAt=now, lastStatus=status, lastError=None)

    async def record_failure(
        self, delivery: CallbackAttempt, failure: AttemptFailure, delay_seconds: float
    ) -> str | None:
        """Records a failed attempt.

        Returns:
            When the next one is made, at most a day after the execution's end; ``None`` where it
            was given up.

        Raises:
            LeaseLostError: the lease ran out and somebody else sends it.
            ExecutionNotFoundError: it was deleted.
        """
        now = self._now()
        said = {"lastStatus": failure.status, "lastError": failure.error}
        if failure.is_final or now >= delivery.final_attempt_after:
            await self._record(delivery, dueAt=None, abandonedAt=now, **said)
            return None
        after_delay = to_text(self._clock() + timedelta(seconds=delay_seconds))
        due = min(after_delay, delivery.final_attempt_after)
        await self._record(delivery, dueAt=due, **said)
        return due

    async def _record(self, delivery: CallbackAttempt, **values: object) -> None:
        def write(connection: Connection) -> None:
            recorded = connection.execute(
                update(callbacks)
                .where(callbacks.c.executionId == delivery.execution_id)
                .where(callbacks.c.owner == delivery.owner)
                .where(callbacks.c.attempts == delivery.attempt)
                .values(owner=None, **values)
            )
            if recorded.rowcount != 1:
                mine = callbacks.c.executionId == delivery.execution_id
                if connection.scalar(select(callbacks.c.executionId).where(mine)) is None:
                    raise ExecutionNotFoundError(delivery.execution_id)
                raise LeaseLostError(delivery.execution_id)

        await self._writer.run(write)

    async def drop(self, delivery: CallbackAttempt) -> None:
        """Forgets a callback whose execution is gone, should it have been left behind."""

        def write(connection: Connection) -> None:
            mine = callbacks.c.executionId == delivery.execution_id
            connection.execute(delete(callbacks).where(mine))

        await self._writer.run(write)

    async def status(self, execution_id: str) -> CallbackStatus | None:
        """How far the callback of an execution is; ``None`` where nobody is to be told."""
        query = select(callbacks).where(callbacks.c.executionId == execution_id)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        return CallbackStatus(
            url=re.sub(r"[?#].*", "", row.url),
            attempts=row.attempts,
            delivered_at=row.deliveredAt,
            next_attempt_at=row.dueAt if row.owner is None else None,
            abandoned_at=row.abandonedAt,
            last_status=row.lastStatus,
            last_error=row.lastError,
        )
