"""Permits: node runs that share a limit take turns, in all processes together.

Each request of a node run has one row for each limit that applies to it. The rows of a limit are
ordered by their positions, and the first ones, up to the capacity, hold a permit. A row is only
ever preceded by fewer rows than before, so that a request which is granted once stays granted, no
request is overtaken, and no request holds one permit while it waits for another one.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import Connection, Text, and_, bindparam, delete, exists, func, select, text, update

from database.clock import Clock, to_text
from database.connection.commit_signal import Change, note_change
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.records import Lease
from database.tables import permits, runs
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
_HAS_OWNER = exists(
    select(runs.c.position).where(
        runs.c.executionId == permits.c.executionId, runs.c.owner == permits.c.owner
    )
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

        ``capacities`` maps the name of each limit to its number of permits.

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
            # An earlier attempt of this transaction may have been committed without a response.
            connection.execute(delete(permits).where(permits.c.request == request))
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
