"""Event store: accepts events, delivers them to the node runs that wait, and deletes old ones.

The transaction that accepts an event delivers it to the first batch of node runs. An event for more
node runs stays ``delivering`` until later transactions have delivered it to all of them.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, select, update

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.engines import insert_or_ignore
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.event_waits import (
    DELIVERED,
    DELIVERING,
    KEPT,
    lock_event_names,
    resumption_of,
)
from database.executions.hidden_waits import hidden_rows, stored_resumption
from database.external_events.records import EventReceipt, NewEvent
from database.tables import CLAIMABLE_NOW, logs, runs
from database.waiting_tables import event_waits, external_events
from engine.errors import IdempotencyKeyReusedError
from engine.request_errors import TooManyKeptEventsError
from engine.status import NodeStatus

AnyRow = Row[*tuple[Any, ...]]

MAX_BATCH_SIZE = 500
"""Maximum number of node runs to which one transaction delivers an event."""
MAX_BATCH_CHARACTERS = 4 * 1024 * 1024
"""Maximum total length of the payloads that one transaction stores for node runs, in characters."""
PRUNED_PER_SWEEP = 1_000
"""Maximum number of events that one transaction deletes."""

_COUNT_LOCK = ("", "", "the number of kept events")
"""A name for ``lock_event_names`` that no event has, because an event has a name."""


class ExternalEvents:
    """The events from outside."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def accept(
        self, event: NewEvent, retention_seconds: float, max_kept: int
    ) -> EventReceipt:
        """Store an event, and resume the node runs that wait for it, up to a batch.

        If none waits, the event is kept for ``retention_seconds``.

        Returns:
            Its receipt, or that of the earlier event with the same idempotency key.

        Raises:
            IdempotencyKeyReusedError: If the key belongs to another request.
            TooManyKeptEventsError: If none waits, and ``max_kept`` events are kept, or half of
                them for its organization.
        """
        expires = timedelta(seconds=retention_seconds)

        def write(connection: Connection) -> EventReceipt:
            now = self._clock()
            at, end = to_text(now), to_text(now + expires)
            names = [(event.organization, event.name, event.key)]
            lock_event_names(connection, names)
            stored = self._insert(connection, event, at, end)
            if stored is not None:
                return _receipt(stored)
            own_row = external_events.c.id == event.id
            row = connection.execute(select(external_events).where(own_row)).one()
            last = connection.scalar(
                select(func.max(event_waits.c.position)).where(*_waits_of(row))
            )
            status, deliveries = _deliver_batch(connection, row, last or 0)
            if status == KEPT:
                _require_space(connection, event.organization, max_kept)
            return EventReceipt(event.id, status, deliveries, at, end)

        return await self._writer.run(write)

    async def deliver(self, event_id: str) -> EventReceipt:
        """Resume the next batch of the node runs that wait for an event which is ``delivering``."""

        def write(connection: Connection) -> EventReceipt:
            query = select(external_events).where(external_events.c.id == event_id)
            row = connection.execute(query).one()
            lock_event_names(connection, [(row.organization, row.name, row.key)])
            row = connection.execute(query).one()
            if row.status != DELIVERING:
                return _receipt(row)
            status, deliveries = _deliver_batch(connection, row, row.lastPosition)
            return EventReceipt(row.id, status, deliveries, row.createdAt, row.expiresAt)

        return await self._writer.run(write)

    async def sweep(self) -> int:
        """Continue a delivery that a crash has interrupted, and delete events that have expired.

        Returns:
            The number of deleted events; if it is ``PRUNED_PER_SWEEP``, more may follow.
        """
        now = to_text(self._clock())
        interrupted = select(external_events.c.id).where(external_events.c.status == DELIVERING)
        old = (
            select(external_events.c.position)
            .where(external_events.c.expiresAt <= now, external_events.c.status != DELIVERING)
            .order_by(external_events.c.expiresAt)
            .limit(PRUNED_PER_SWEEP)
        )
        has_work = select(exists(interrupted), exists(old.limit(1)))
        # Reads first, so that an idle service does not take the write lock.
        is_interrupted, has_old = await self._reader.run(
            lambda connection: connection.execute(has_work).one()
        )
        if is_interrupted:
            for event_id in await self._reader.run(
                lambda connection: connection.scalars(interrupted.limit(10)).all()
            ):
                while (await self.deliver(event_id)).status == DELIVERING:
                    pass
        if not has_old:
            return 0
        remove = delete(external_events).where(external_events.c.position.in_(old))
        return await self._writer.run(lambda connection: connection.execute(remove).rowcount)

    def _insert(
        self, connection: Connection, event: NewEvent, now: str, expires_at: str
    ) -> AnyRow | None:
        """Store an event; if its idempotency key exists already, return the event with that."""
        key = event.idempotency
        if key is not None:
            expired = external_events.c.expiresAt <= now
            connection.execute(delete(external_events).where(*_key_filter(event), expired))
        inserted = connection.execute(
            insert_or_ignore(connection.dialect.name, external_events),
            {
                "id": event.id,
                "organization": event.organization,
                "name": event.name,
                "key": event.key,
                "payload": event.payload,
                "status": KEPT,
                "deliveries": 0,
                "idempotencyKey": None if key is None else key.key,
                "bodyHash": None if key is None else key.body_hash,
                "createdAt": now,
                "expiresAt": expires_at,
            },
        )
        if inserted.rowcount == 1 or key is None:
            return None
        row = connection.execute(select(external_events).where(*_key_filter(event))).one()
        if row.bodyHash != key.body_hash:
            raise IdempotencyKeyReusedError(key.key)
        return row


def _key_filter(event: NewEvent) -> tuple[ColumnElement[bool], ...]:
    key = None if event.idempotency is None else event.idempotency.key
    columns = external_events.c
    return columns.organization == event.organization, columns.idempotencyKey == key


def _waits_of(event: AnyRow) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the waits that an event ends.

    The waits of an earlier event that is ``delivering`` belong to that event.
    """
    earlier = external_events.alias()
    taken = select(func.coalesce(func.max(earlier.c.lastPosition), 0)).where(
        *(earlier.c[name] == getattr(event, name) for name in ("organization", "name", "key")),
        earlier.c.status == DELIVERING,
        earlier.c.position < event.position,
    )
    return (
        *(event_waits.c[name] == getattr(event, name) for name in ("organization", "name", "key")),
        event_waits.c.position > taken.scalar_subquery(),
    )


def _deliver_batch(connection: Connection, event: AnyRow, last: int) -> tuple[str, int]:
    """Resume the first node runs that wait for an event, up to the wait at position ``last``.

    Returns:
        The status of the event, and the number of node runs that have received it.
    """
    size = max(1, min(MAX_BATCH_SIZE, MAX_BATCH_CHARACTERS // max(1, len(event.payload or ""))))
    query = (
        select(event_waits.c.position, event_waits.c.executionId, event_waits.c.nodeId)
        .where(*_waits_of(event), event_waits.c.position <= last)
        .order_by(event_waits.c.position)
    )
    found = connection.execute(query.limit(size + 1)).all()
    batch = found[:size]
    deliveries = event.deliveries
    if batch:
        _lock_runs(connection, [wait.executionId for wait in batch])
        # Read again, because another transaction may have ended waits before it released the lock.
        positions = [wait.position for wait in batch]
        waits = connection.execute(query.where(event_waits.c.position.in_(positions))).all()
        deliveries += _resume(connection, event, waits) if waits else 0
    status = DELIVERING if len(found) > size else DELIVERED if deliveries else KEPT
    values: dict[str, object] = {"status": status, "deliveries": deliveries, "lastPosition": last}
    if status == DELIVERED:
        values["payload"] = None
    own_row = external_events.c.position == event.position
    connection.execute(update(external_events).where(own_row).values(values))
    return status, deliveries


def _lock_runs(connection: Connection, execution_ids: Sequence[str]) -> None:
    """Lock executions in the order of all transactions that lock several: the youngest first."""
    locked = select(runs.c.position).where(runs.c.executionId.in_(set(execution_ids)))
    connection.execute(locked.order_by(runs.c.position.desc()).with_for_update())


def _resume(connection: Connection, event: AnyRow, waits: Sequence[AnyRow]) -> int:
    """Store the event for these waiting node runs; return the number of them."""
    rows = {f"{wait.executionId}:{wait.nodeId}" for wait in waits}
    hidden = hidden_rows(connection, rows)
    resumption, resumed = resumption_of(event), list[str]()
    for some, is_hidden in ((rows - hidden, False), (hidden, True)):
        if some:
            text = stored_resumption(connection, resumption, hidden=is_hidden)
            resumed += connection.scalars(
                update(logs)
                .where(logs.c.id.in_(some))
                .where(logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_(None))
                .values(resumption=text)
                .returning(logs.c.executionId)
            ).all()
    positions = [wait.position for wait in waits]
    connection.execute(delete(event_waits).where(event_waits.c.position.in_(positions)))
    connection.execute(
        update(runs)
        .where(runs.c.executionId.in_(set(resumed)))
        .where(runs.c.owner.is_(None), runs.c.endedAt.is_(None))
        .values(claimableAt=CLAIMABLE_NOW)
    )
    note_change(connection, Change.QUEUE)
    note_change(connection, Change.REQUESTS)
    return len(resumed)


def _require_space(connection: Connection, organization: str, most: int) -> None:
    """Check that a further event may be kept; the event of this transaction is one of them.

    Raises:
        TooManyKeptEventsError: If ``most`` events are kept, or half of them for the organization.
    """
    lock_event_names(connection, [_COUNT_LOCK])
    kept = select(external_events.c.position).where(external_events.c.status == KEPT)
    limits = [(kept, most, "")]
    if organization:
        own = kept.where(external_events.c.organization == organization)
        limits.insert(0, (own, (most + 1) // 2, organization))
    for query, limit, of_organization in limits:
        counted = select(func.count()).select_from(query.limit(limit + 1).subquery())
        if (connection.scalar(counted) or 0) > limit:
            raise TooManyKeptEventsError(limit, most, of_organization)


def _receipt(row: AnyRow) -> EventReceipt:
    return EventReceipt(row.id, row.status, row.deliveries, row.createdAt, row.expiresAt)
