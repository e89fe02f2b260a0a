"""Callbacks: the queue of notifications about executions and tasks, and their delivery attempts.

A worker claims a callback under a lease, like an execution, for one attempt. ``dueAt`` is the queue
position, the end of the lease or the time of the next attempt, as ``claimableAt`` for executions.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import Connection, Text, bindparam, delete, func, or_, select, update

from database.clock import Clock, to_text
from database.connection.engines import insert_or_ignore
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.tables import callbacks, children, runs
from engine.errors import ExecutionNotFoundError, LeaseLostError

DELIVERY_DEADLINE = timedelta(days=1)
"""Time after the end of the execution, or the reminder, from which a failed attempt is the final
one."""
MAX_DUE_AHEAD = timedelta(hours=2)
"""Maximum delay of a callback; a later ``dueAt`` was stored before the clock was set back."""

_MAKE_DUE = (
    update(callbacks)
    .where(callbacks.c.id.in_(bindparam("ended", expanding=True)))
    .where(callbacks.c.deliveredAt.is_(None), callbacks.c.abandonedAt.is_(None))
    .values(dueAt=bindparam("now"))
)
# Built once, because the end of each execution reads it.
_DUE_BY_HOST = (
    select(callbacks.c.host, func.count())
    .where(
        or_(
            callbacks.c.dueAt <= bindparam("now", type_=Text),
            callbacks.c.dueAt > bindparam("beyond", type_=Text),
        )
    )
    .group_by(callbacks.c.host)
    .order_by(func.min(callbacks.c.dueAt))
)
_CALLBACK = select(callbacks).where(callbacks.c.id == bindparam("execution"))


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One attempt to deliver a callback, claimed by ``owner``."""

    id: str
    execution_id: str
    owner: str
    url: str
    attempt: int
    """Number of the attempt, from 1 over all restarts; with ``owner`` it identifies the claim."""
    workflow_name: str
    final_attempt_after: str
    """Time from which a failed attempt is the final one."""
    trace_context: str | None = None
    """Trace context of the execution, encoded."""
    body: str | None = None
    """The body; ``None`` if it is that of the end of the execution."""


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """Reason for a failed attempt, with the HTTP status of the response if one arrived."""

    error: str
    status: int | None = None
    is_final: bool = False
    """Whether the service makes no further attempt."""
    retry_after: float | None = None
    """Pause that the receiver requested, in seconds."""


@dataclass(frozen=True, slots=True)
class CallbackStatus:
    """Delivery status of a callback; ``url`` has no query, because that may contain a secret."""

    url: str
    attempts: int
    delivered_at: str | None
    next_attempt_at: str | None
    """``None`` also during an attempt."""
    abandoned_at: str | None
    last_status: int | None
    last_error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has accepted the callback."""
        return self.delivered_at is not None


def add_callback(connection: Connection, execution_id: str, url: str) -> None:
    """Store the callback of an execution, in the transaction that stores the execution."""
    row = {"id": execution_id, "executionId": execution_id, "host": _host_of(url), "url": url}
    connection.execute(callbacks.insert().values(row))


def add_task_callback(
    connection: Connection, callback_id: str, execution_id: str, body: str, now: str
) -> None:
    """Store a callback about a task of an execution, which is due now.

    Its receiver is the ``callbackUrl`` of the execution, or else that of the top-level execution of
    its chain of calls. Without either, nothing is stored. A repeated write stores it once.
    """
    top_level = select(children.c.rootId).where(children.c.executionId == execution_id)
    for receiver in (callbacks.c.id == execution_id, callbacks.c.id == top_level.scalar_subquery()):
        url = connection.scalar(select(callbacks.c.url).where(receiver))
        if url is not None:
            row = {
                "id": callback_id,
                "executionId": execution_id,
                "host": _host_of(url),
                "url": url,
                "body": body,
                "createdAt": now,
                "dueAt": now,
            }
            connection.execute(insert_or_ignore(connection.dialect.name, callbacks), row)
            return


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()


def make_due(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Make callbacks due, in the transaction that ends their executions."""
    connection.execute(_MAKE_DUE, {"ended": list(execution_ids), "now": now})


class Callbacks:
    """Queue of callbacks, with the results of their attempts."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _now(self) -> str:
        return to_text(self._clock())

    def _max_due(self) -> str:
        return to_text(self._clock() + MAX_DUE_AHEAD)

    async def due_by_host(self) -> dict[str, int]:
        """Return the number of due callbacks by host, in the order of their oldest callbacks."""
        times = {"now": self._now(), "beyond": self._max_due()}
        rows = await self._reader.run(
            lambda connection: connection.execute(_DUE_BY_HOST, times).all(),
            snapshot=False,
            brief=True,
        )
        return {host: count for host, count in rows}  # noqa: C416 - type checkers do not accept rows as pairs

    async def claim(self, owner: str, host: str, lease_seconds: float) -> CallbackAttempt | None:
        """Claim the oldest due callback to ``host``; return ``None`` if no callback is due.

        If ``owner`` does not record the attempt, the callback is due again when the lease ends.
        """

        def write(connection: Connection) -> CallbackAttempt | None:
            now = self._now()
            callback_id = None
            for due in (callbacks.c.dueAt <= now, callbacks.c.dueAt > self._max_due()):
                oldest = select(callbacks.c.id).where(callbacks.c.host == host, due)
                oldest = oldest.order_by(callbacks.c.dueAt).limit(1)
                callback_id = connection.scalar(oldest.with_for_update(skip_locked=True))
                if callback_id is not None:
                    break
            if callback_id is None:
                return None
            # No other worker can change the row, because PostgreSQL locks it and SQLite the file.
            taken = connection.execute(
                update(callbacks)
                .where(callbacks.c.id == callback_id)
                .values(
                    owner=owner,
                    dueAt=to_text(self._clock() + timedelta(seconds=lease_seconds)),
                    attempts=callbacks.c.attempts + 1,
                    lastAttemptAt=now,
                )
                .returning(callbacks)
            ).one()
            run = connection.execute(
                select(runs.c.workflowName, runs.c.endedAt, runs.c.traceContext).where(
                    runs.c.executionId == taken.executionId
                )
            ).first()
            if run is None:  # deleted by a program that enforces no foreign keys
                connection.execute(delete(callbacks).where(callbacks.c.id == callback_id))
                return None
            since = datetime.fromisoformat(taken.createdAt or run.endedAt)
            return CallbackAttempt(
                callback_id,
                taken.executionId,
                owner,
                taken.url,
                taken.attempts,
                run.workflowName,
                to_text(since + DELIVERY_DEADLINE),
                run.traceContext,
                taken.body,
            )

        return await self._writer.run(write)

    async def record_delivery(self, delivery: CallbackAttempt, status: int) -> None:
        """Record a successful attempt.

        Raises:
            LeaseLostError: If the lease expired and another worker claimed the callback.
            ExecutionNotFoundError: If the execution was deleted.
        """
        now = self._now()
        await self._record(delivery, dueAt=None, deliveredAt=now, lastStatus=status, lastError=None)

    async def record_failure(
        self, delivery: CallbackAttempt, failure: AttemptFailure, delay_seconds: float
    ) -> str | None:
        """Record a failed attempt.

        Returns:
            The time of the next attempt, at most a day after the execution's end; ``None`` if the
            callback is abandoned.

        Raises:
            LeaseLostError: If the lease expired and another worker claimed the callback.
            ExecutionNotFoundError: If the execution was deleted.
        """
        now = self._now()
        result = {"lastStatus": failure.status, "lastError": failure.error}
        if failure.is_final or now >= delivery.final_attempt_after:
            await self._record(delivery, dueAt=None, abandonedAt=now, **result)
            return None
        after_delay = to_text(self._clock() + timedelta(seconds=delay_seconds))
        due = min(after_delay, delivery.final_attempt_after)
        await self._record(delivery, dueAt=due, **result)
        return due

    async def _record(self, delivery: CallbackAttempt, **values: object) -> None:
        def write(connection: Connection) -> None:
            recorded = connection.execute(
                update(callbacks)
                .where(callbacks.c.id == delivery.id)
                .where(callbacks.c.owner == delivery.owner)
                .where(callbacks.c.attempts == delivery.attempt)
                .values(owner=None, **values)
            )
            if recorded.rowcount != 1:
                own_row = callbacks.c.id == delivery.id
                if connection.scalar(select(callbacks.c.id).where(own_row)) is None:
                    raise ExecutionNotFoundError(delivery.execution_id)
                raise LeaseLostError(delivery.execution_id)

        await self._writer.run(write)

    async def drop(self, delivery: CallbackAttempt) -> None:
        """Delete a callback whose execution no longer exists."""

        def write(connection: Connection) -> None:
            own_row = callbacks.c.id == delivery.id
            connection.execute(delete(callbacks).where(own_row))

        await self._writer.run(write)


def callback_status(connection: Connection, execution_id: str) -> CallbackStatus | None:
    """Return the status of an execution's callback; ``None`` if it has no callback."""
    row = connection.execute(_CALLBACK, {"execution": execution_id}).first()
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
