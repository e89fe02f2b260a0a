"""Event waits: the rows of node runs that wait for events, and the events that were kept for them.

A wait changes in the transaction that changes its node, after the lock of its execution.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, delete, func, select, update

from database.connection.commit_signal import Change, note_change
from database.connection.engines import insert_or_ignore
from database.executions.hidden_waits import hidden_rows, stored_resumption
from database.executions.journal_records import NodeEnded
from database.records import Lease
from database.tables import logs, runs
from database.waiting_tables import event_waits, external_events
from engine.event_waits import ReceivedEvent
from engine.parking import Resumption
from engine.status import NodeStatus

_AnyRow = Row[*tuple[Any, ...]]

KEPT, DELIVERING, DELIVERED = "kept", "delivering", "delivered"
"""Statuses of an event: no node waited for it; some nodes have not received it yet; it ended."""

_LOCK = select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger)))
_WAITS_STILL = select(logs.c.id).where(
    logs.c.id == bindparam("row"), logs.c.status == NodeStatus.WAITING, logs.c.resumption.is_(None)
)


def lock_event_names(connection: Connection, names: Iterable[tuple[str, str, str]]) -> None:
    """Lock the pairs of a name and a key, each with its organization.

    Otherwise an event and a node that begins to wait for it could miss each other on PostgreSQL,
    because neither transaction reads the uncommitted rows of the other. It is the first lock of
    each transaction, so that no deadlock occurs.
    """
    if connection.dialect.name == "sqlite":
        return
    numbers = {int.from_bytes(_digest(name)[:8], "big", signed=True) for name in names}
    for number in sorted(numbers):
        connection.execute(_LOCK, {"number": number})


def _digest(name: tuple[str, str, str]) -> bytes:
    return sha256(json.dumps(["event", *name]).encode()).digest()


def lock_awaited_events(
    connection: Connection, lease: Lease, ended: Sequence[NodeEnded]
) -> str | None:
    """Lock the events for which nodes begin to wait; return the organization of the execution.

    Returns ``None`` if no node begins to wait for an event.
    """
    awaited = [node.event for node in ended if node.event is not None]
    if not awaited:
        return None
    own_run = runs.c.executionId == lease.execution_id
    organization = connection.scalar(select(runs.c.organization).where(own_run)) or ""
    lock_event_names(connection, [(organization, event.name, event.key) for event in awaited])
    return organization


def start_event_waits(
    connection: Connection,
    lease: Lease,
    ended: Sequence[NodeEnded],
    organization: str | None,
    now: str,
) -> None:
    """Store the waits of nodes that are now parked, or resume them with events that were kept.

    A repeated write stores no wait twice and takes no second event.
    """
    if organization is None:
        return
    for node in ended:
        if node.event is None:
            continue
        row = f"{lease.execution_id}:{node.node_id}"
        if connection.scalar(_WAITS_STILL, {"row": row}) is None:
            continue
        wait = {
            "executionId": lease.execution_id,
            "nodeId": node.node_id,
            "organization": organization,
            "name": node.event.name,
            "key": node.event.key,
        }
        kept = _take_kept(connection, wait, now)
        if kept is None:
            connection.execute(insert_or_ignore(connection.dialect.name, event_waits), wait)
            continue
        hidden = bool(hidden_rows(connection, [row]))
        resumption = stored_resumption(connection, resumption_of(kept), hidden=hidden)
        connection.execute(update(logs).where(logs.c.id == row).values(resumption=resumption))
        note_change(connection, Change.REQUESTS)


def _take_kept(connection: Connection, wait: dict[str, str], now: str) -> _AnyRow | None:
    """Return the oldest event that was kept for a wait, which no other wait receives any more."""
    event = connection.execute(
        select(external_events)
        .where(*(external_events.c[column] == wait[column] for column in ("organization", "name")))
        .where(external_events.c.key == wait["key"], external_events.c.status == KEPT)
        .where(external_events.c.expiresAt > now)
        .order_by(external_events.c.position)
        .limit(1)
    ).first()
    if event is not None:
        is_event = external_events.c.position == event.position
        values = {"status": DELIVERED, "payload": None, "deliveries": 1}
        connection.execute(update(external_events).where(is_event).values(values))
    return event


def resumption_of(event: _AnyRow) -> Resumption:
    """Return the resumption of a node that receives an event."""
    received = ReceivedEvent(event.id, event.name, event.key, event.createdAt)
    data = None if event.payload is None else json.loads(event.payload)
    return Resumption(data=data, event=received)


def end_event_wait(connection: Connection, execution_id: str, node_ids: Collection[str]) -> None:
    """Delete the waits of node runs of a locked execution that no event may end any more."""
    if node_ids:
        of_execution = event_waits.c.executionId == execution_id
        connection.execute(
            delete(event_waits).where(of_execution, event_waits.c.nodeId.in_(node_ids))
        )


def end_event_waits(connection: Connection, lease: Lease, ended: Sequence[NodeEnded]) -> None:
    """Delete the waits of nodes that were parked and have now ended."""
    parked = [
        node.node_id
        for node in ended
        if node.waited_ms is not None and node.status != NodeStatus.WAITING
    ]
    end_event_wait(connection, lease.execution_id, parked)


def cancel_event_waits(connection: Connection, execution_ids: Collection[str]) -> None:
    """Delete the waits of executions that end."""
    connection.execute(delete(event_waits).where(event_waits.c.executionId.in_(execution_ids)))
