"""Forgetting ended executions, a few at a time: nobody waits for it, and the file stays small."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Select, delete, exists, select, update

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.submissions import IDEMPOTENCY_KEY_TTL_HOURS
from database.schema import CREATED_BY_SERVICE
from database.tables import (
    callbacks,
    children,
    definitions,
    events,
    executions,
    idempotency_keys,
    logs,
    runs,
    service_metadata,
)

BATCH_SIZE = 25
"""Executions that one transaction forgets: with payloads of 1 MB still a fraction of a second."""
MAX_BOUND_VALUES = 500
"""Values in one statement; databases take a few thousand."""
PAGES_PER_VACUUM = 2_000
"""Free pages from which on a file that was made to shrink does; each call gives half of it back."""
INCREMENTAL = 2
"""SQLite's number for files that shrink when they are told to."""

_ROOT = executions.alias("root")

_UNNOTIFIED_CHILDREN = select(callbacks.c.executionId).where(callbacks.c.dueAt.is_not(None))
"""Executions whose receiver has still to be told; after a day at most it is given up."""


class Retention:
    """Deletes executions of the service's that have ended; never others."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def created_by_service(self) -> bool:
        """Whether the service made the main project's tables itself."""
        created = select(service_metadata.c.name).where(
            service_metadata.c.name == CREATED_BY_SERVICE
        )
        return await self._reader.run(lambda connection: connection.scalar(created)) is not None

    async def delete_expired(self, days: float | None, count: int | None) -> int:
        """Forgets up to ``BATCH_SIZE`` executions, over ``days`` old or beyond the last ``count``.

        One whose callback is still to be delivered stays until it is, or is given up.

        Returns:
            How many it forgot; ``BATCH_SIZE`` says that there may be more.
        """

        def write(connection: Connection) -> int:
            ids: list[str] = []
            ended = select(runs.c.executionId).where(
                runs.c.endedAt.is_not(None), runs.c.executionId.not_in(_UNNOTIFIED_CHILDREN)
            )
            if days is not None:
                oldest = to_text(self._clock() - timedelta(days=days))
                old = (
                    ended.where(runs.c.endedAt < oldest).order_by(runs.c.endedAt).limit(BATCH_SIZE)
                )
                ids += connection.execute(old).scalars()
            if count is not None and len(ids) < BATCH_SIZE:
                newest_first = ended.order_by(runs.c.endedAt.desc(), runs.c.position.desc())
                beyond = newest_first.offset(count).limit(BATCH_SIZE - len(ids))
                ids += connection.execute(beyond).scalars()
            if ids:
                delete_executions(connection, list(dict.fromkeys(ids)))
            return len(ids)

        return await self._writer.run(write)

    async def delete_expired_keys(self) -> None:
        """Forgets the keys that nobody is promised any more."""
        oldest = to_text(self._clock() - timedelta(hours=IDEMPOTENCY_KEY_TTL_HOURS))

        def write(connection: Connection) -> None:
            connection.execute(
                delete(idempotency_keys).where(idempotency_keys.c.createdAt < oldest)
            )

        old = select(idempotency_keys.c.key).where(idempotency_keys.c.createdAt < oldest).limit(1)
        if await self._reader.run(lambda connection: connection.scalar(old)) is not None:
            await self._writer.run(write)

    async def vacuum(self) -> bool:
        """Shrinks a SQLite file that was made to shrink; elsewhere freed pages are used again.

        Returns:
            Whether there is more to give back. Some free pages are left for what comes next.
        """

        def write(connection: Connection) -> bool:
            if connection.dialect.name != "sqlite":
                return False
            free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            shrinks = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == INCREMENTAL
            if not shrinks or free < PAGES_PER_VACUUM:
                return False
            # A page at a time: Python's driver takes one step of a statement without columns.
            for _ in range(PAGES_PER_VACUUM // 2):
                connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
            return True

        return await self._writer.run(write)


def delete_executions(connection: Connection, ids: Sequence[str] | Select[tuple[str]]) -> None:
    """Deletes these executions with all that is theirs, and documents that nobody else uses."""
    hashes = connection.scalars(
        select(runs.c.definitionHash).where(runs.c.executionId.in_(ids)).distinct()
    ).all()
    # Not left to the cascade: it does not work where foreign keys cannot be enforced.
    connection.execute(delete(logs).where(logs.c.executionId.in_(ids)))
    connection.execute(delete(events).where(events.c.executionId.in_(ids)))
    connection.execute(delete(callbacks).where(callbacks.c.executionId.in_(ids)))
    # What they called counts for as long as the execution is there that it goes back to.
    theirs = children.c.parentId.in_(ids)
    counted = exists().where(_ROOT.c.id == children.c.rootId, _ROOT.c.id.not_in(ids))
    connection.execute(delete(children).where(theirs, ~counted))
    connection.execute(update(children).where(theirs).values(parentId=None))
    connection.execute(delete(runs).where(runs.c.executionId.in_(ids)))
    connection.execute(delete(executions).where(executions.c.id.in_(ids)))
    used = exists().where(runs.c.definitionHash == definitions.c.hash)
    for start in range(0, len(hashes), MAX_BOUND_VALUES):
        some = hashes[start : start + MAX_BOUND_VALUES]
        connection.execute(delete(definitions).where(definitions.c.hash.in_(some), ~used))
