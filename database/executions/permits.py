"""Permits: node runs that share a limit take turns, in all processes together.

Each request of a node run has one row for each limit that applies to it. The rows of a limit are
ordered by their positions, and the first ones, up to the capacity, hold a permit. A row is only
ever preceded by fewer rows than before, so that a request which is granted once stays granted, no
request is overtaken, and no request holds one permit while it waits for another one.

The request of a parked node run has no owner (``PARKED``). It keeps its position, and its execution
becomes claimable when it is granted. Every change after which this may be necessary is signalled as
``Change.PERMITS``, and ``wake`` is called after its commit, so that no lock is necessary.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.records import Lease
from database.tables import CLAIMABLE_NOW, permits, runs
from engine.errors import LeaseLostError

_PERMIT_LOCK = 7_205_759_407  # differs from the numbers of the other locks
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")

_RANKED = select(
    permits.c.request,
    permits.c.capacity,
    func.row_number().over(partition_by=permits.c.name, order_by=permits.c.position).label("rank"),
).subquery()
_EXCEEDED = select(_RANKED.c.request).where(_RANKED.c.rank > _RANKED.c.capacity)
_REQUESTS = bindparam("requests", type_=Text, expanding=True)
_GRANTED = (
    select(permits.c.request)
    .distinct()
    .where(permits.c.request.in_(_REQUESTS), permits.c.request.not_in(_EXCEEDED))
)
_GRANT = (
    update(permits)
    .where(permits.c.request.in_(_REQUESTS))
    .values(grantedAt=bindparam("now", type_=Text))
)
PARKED = ""
"""Owner of the requests of parked node runs."""
_IS_PARKED = permits.c.owner == PARKED
_HAS_PARKED = select(exists(select(permits.c.position).where(_IS_PARKED)))
_HAS_CLAIMABLE = select(
    exists(
        select(runs.c.position).where(
            runs.c.owner.is_(None), runs.c.claimableAt <= bindparam("now", type_=Text)
        )
    )
)
_GRANTED_PARKED = (
    select(permits.c.request, permits.c.executionId)
    .distinct()
    .where(_IS_PARKED, permits.c.grantedAt.is_(None), permits.c.request.not_in(_EXCEEDED))
)
_HAS_OWNER = exists(
    select(runs.c.position)
    .where(runs.c.executionId == permits.c.executionId)
    .where(or_(runs.c.owner == permits.c.owner, and_(_IS_PARKED, runs.c.endedAt.is_(None))))
)
_IS_NEW_ORPHAN = and_(permits.c.orphanedAt.is_(None), ~_HAS_OWNER)
_IS_OLD_ORPHAN = permits.c.orphanedAt <= bindparam("before", type_=Text)


class Permits:
    """Requests of permits. A request has a random id, because a node run can repeat it."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def _now(self, seconds: float = 0) -> str:
        return to_text(self._clock() + timedelta(seconds=seconds))

    async def request(
        self, lease: Lease, request: str, node_id: str, capacities: Mapping[str, int]
    ) -> bool:
        """Store a request for a permit of each limit; return whether all are granted already.

        ``capacities`` maps the name of each limit to its number of permits. A node run that was
        parked while it waited keeps its position.

        Raises:
            LeaseLostError: If the execution has another owner.
        """
        rows = [
            {
                "name": name,
                "request": request,
                "nodeRunId": f"{lease.execution_id}:{node_id}",
                "executionId": lease.execution_id,
                "owner": lease.owner,
                "capacity": capacity,
            }
            for name, capacity in capacities.items()
        ]

        def write(connection: Connection) -> bool:
            own = runs.c.executionId == lease.execution_id, runs.c.owner == lease.owner
            locked = select(runs.c.position).where(*own).with_for_update(key_share=True)
            if connection.scalar(locked) is None:
                raise LeaseLostError(lease.execution_id)
            if connection.dialect.name == "postgresql":
                # Positions grow in the order of commits, so that a rank never grows.
                connection.execute(_LOCK, {"key": _PERMIT_LOCK})
            if not _take_over(connection, rows):
                connection.execute(permits.insert(), rows)
            return bool(_grant(connection, [request], self._now()))

        return await self._writer.run(write)

    async def grant(self, requests: Sequence[str]) -> set[str]:
        """Return those of these requests whose permits are granted now."""
        values = {"requests": list(requests)}
        # Reads first, so that waiting requests do not take the write lock.
        granted = await self._reader.run(
            lambda connection: connection.scalars(_GRANTED, values).all(), snapshot=False
        )
        if not granted:
            return set()
        return await self._writer.run(lambda connection: _grant(connection, granted, self._now()))

    async def release(self, request: str) -> None:
        """Return the permits of a request, or withdraw it."""

        def write(connection: Connection) -> None:
            own = permits.c.request == request
            if connection.execute(delete(permits).where(own)).rowcount:
                note_change(connection, Change.PERMITS)

        await self._writer.run(write)

    async def has_claimable(self) -> bool:
        """Return whether an execution waits for a slot."""
        values = {"now": self._now()}
        found = await self._reader.run(
            lambda connection: connection.scalar(_HAS_CLAIMABLE, values), snapshot=False
        )
        return bool(found)

    async def wake(self) -> bool:
        """Make executions claimable whose parked node runs have their permits now.

        Returns:
            Whether there are requests of parked node runs.
        """
        # Reads first, so that parked requests do not take the write lock.
        has_parked, is_granted = await self._reader.run(
            lambda connection: (
                connection.scalar(_HAS_PARKED),
                connection.execute(_GRANTED_PARKED.limit(1)).first() is not None,
            ),
            snapshot=False,
        )
        if is_granted:
            await self._writer.run(lambda connection: _wake(connection, self._now()))
        return bool(has_parked)

    async def delete_orphaned(self, lease_seconds: float) -> int:
        """Delete requests of owners that have lost their execution; return their number.

        They are kept for ``lease_seconds`` after they were found, because the owner may not know of
        its loss yet, for example if another program has deleted the execution.
        """
        values = {"before": self._now(-lease_seconds)}
        found = select(exists(select(permits.c.position).where(_IS_NEW_ORPHAN | _IS_OLD_ORPHAN)))
        # Reads first, so that an idle service does not take the write lock.
        is_found = await self._reader.run(
            lambda connection: connection.scalar(found, values), snapshot=False
        )
        if not is_found:
            return 0

        def write(connection: Connection) -> int:
            connection.execute(update(permits).where(_IS_NEW_ORPHAN).values(orphanedAt=self._now()))
            old = connection.execute(delete(permits).where(_IS_OLD_ORPHAN), values)
            if old.rowcount:
                note_change(connection, Change.PERMITS)
            return old.rowcount

        return await self._writer.run(write)


def _take_over(connection: Connection, rows: Sequence[Mapping[str, object]]) -> bool:
    """Give the earlier request of a node run to a new one; delete it if it has other limits.

    It is the request of a parked node run, or that of this transaction if an earlier attempt of it
    was committed without a response.
    """
    first = rows[0]
    of_node = and_(
        permits.c.executionId == first["executionId"],
        permits.c.nodeRunId == first["nodeRunId"],
        or_(permits.c.owner != first["owner"], permits.c.request == first["request"]),
    )
    found = connection.execute(select(permits.c.name, permits.c.capacity).where(of_node)).all()
    if not found:
        return False
    if sorted((row.name, row.capacity) for row in found) == sorted(
        (row["name"], row["capacity"]) for row in rows
    ):
        values = {"owner": first["owner"], "request": first["request"], "orphanedAt": None}
        connection.execute(update(permits).where(of_node).values(values))
        return True
    connection.execute(delete(permits).where(of_node))
    return False


def _wake(connection: Connection, now: str) -> None:
    """Make the executions of granted parked requests claimable.

    Executions whose rows are locked are left out: their transactions claim, resume or end them.
    """
    granted = connection.execute(_GRANTED_PARKED).all()
    is_wanted = runs.c.executionId.in_({row.executionId for row in granted})
    is_free = and_(is_wanted, runs.c.owner.is_(None), runs.c.endedAt.is_(None))
    locked = select(runs.c.executionId).where(is_free).with_for_update(skip_locked=True)
    ids = set(connection.scalars(locked))
    if not ids:
        return
    woken = [row.request for row in granted if row.executionId in ids]
    connection.execute(
        update(runs).where(runs.c.executionId.in_(ids)).values(claimableAt=CLAIMABLE_NOW)
    )
    connection.execute(_GRANT, {"requests": woken, "now": now})
    note_change(connection, Change.QUEUE)


def park_requests(connection: Connection, lease: Lease, node_ids: Sequence[str], now: str) -> bool:
    """Keep the requests of parked node runs; return whether one is granted already."""
    own = _of_nodes([lease.execution_id], [f"{lease.execution_id}:{name}" for name in node_ids])
    # A request may have been granted when its node run had ended its wait already.
    connection.execute(update(permits).where(own).values(owner=PARKED, grantedAt=None))
    # If one is granted by another transaction in progress, the signal of this one wakes it.
    note_change(connection, Change.PERMITS)
    granted = connection.scalars(_GRANTED_PARKED.where(own)).all()
    if granted:
        connection.execute(_GRANT, {"requests": granted, "now": now})
    return bool(granted)


def withdraw_requests(
    connection: Connection, execution_ids: Sequence[str], node_run_ids: Sequence[str]
) -> None:
    """Delete the requests of node runs that were parked and have ended."""
    of_nodes = _of_nodes(execution_ids, node_run_ids)
    if connection.execute(delete(permits).where(of_nodes)).rowcount:
        note_change(connection, Change.PERMITS)


def _of_nodes(execution_ids: Sequence[str], node_run_ids: Sequence[str]) -> ColumnElement[bool]:
    # There is an index of the executions only.
    return and_(permits.c.executionId.in_(execution_ids), permits.c.nodeRunId.in_(node_run_ids))


def return_permits(connection: Connection, execution_ids: Collection[str]) -> None:
    """Return the permits of executions whose leases have expired; their owners have stopped."""
    held = permits.c.executionId.in_(execution_ids)
    if connection.execute(delete(permits).where(held)).rowcount:
        note_change(connection, Change.PERMITS)


def _grant(connection: Connection, requests: Sequence[str], now: str) -> set[str]:
    granted = connection.scalars(_GRANTED, {"requests": list(requests)}).all()
    if granted:
        connection.execute(_GRANT, {"requests": list(granted), "now": now})
    return set(granted)
