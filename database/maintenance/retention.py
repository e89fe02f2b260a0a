"""Retention: deletes ended executions in small batches and shrinks the SQLite file."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Select, delete, exists, func, select, update

from database.bulk_tables import PENDING_ITEM, bulk_items, bulk_operations
from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.submissions import IDEMPOTENCY_KEY_TTL_HOURS
from database.payloads import MAX_BOUND_VALUES, delete_uses, delete_without_execution, find_unused
from database.schema import CREATED_BY_SERVICE
from database.tables import (
    callbacks,
    children,
    definitions,
    events,
    executions,
    failures,
    idempotency_keys,
    logs,
    requests,
    runs,
    schedule_runs,
    service_metadata,
)
from database.waiting_tables import event_waits, human_tasks, task_answers, task_assignees

BATCH_SIZE = 25
"""Maximum number of executions that one transaction deletes."""
PAYLOADS_PER_SWEEP = 20
"""Number of payloads that one call of ``Retention.delete_unused_payloads`` checks."""
PAGES_PER_VACUUM = 2_000
"""Minimum number of free pages before the file shrinks; each call frees half of them."""
INCREMENTAL = 2
"""SQLite's value of ``auto_vacuum`` for files that shrink on request."""

_ROOT = executions.alias("root")

_PENDING_CALLBACKS = select(callbacks.c.executionId).where(callbacks.c.dueAt.is_not(None))
"""Executions whose callback is not delivered yet; it is abandoned after a day at most."""

_PENDING_ITEMS = (
    select(bulk_items.c.executionId)
    .join(bulk_operations, bulk_operations.c.id == bulk_items.c.bulkId)
    .where(bulk_operations.c.claimableAt.is_not(None), bulk_items.c.status == PENDING_ITEM)
)
"""Executions that a bulk operation has not treated yet."""

_CHANGES = select(
    select(func.max(events.c.position)).scalar_subquery(),
    select(func.count()).where(callbacks.c.dueAt.is_not(None)).scalar_subquery(),
)
"""Two values, which differ after the end of an execution or of a pending callback."""


class Retention:
    """Deletes ended executions of the service, and no others."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._swept = ""
        self._none_beyond: tuple[object, ...] | None = None
        """The limit and the values of ``_CHANGES`` with which no execution was beyond the limit."""

    async def created_by_service(self) -> bool:
        """Return whether the service created the main project's tables."""
        created = select(service_metadata.c.name).where(
            service_metadata.c.name == CREATED_BY_SERVICE
        )
        return await self._reader.run(lambda connection: connection.scalar(created)) is not None

    async def delete_expired(self, days: float | None, count: int | None) -> int:
        """Delete up to ``BATCH_SIZE`` executions, over ``days`` old or beyond the last ``count``.

        An execution with a pending callback stays until it is delivered or abandoned, and one that
        a bulk operation has not treated yet stays until then.

        Returns:
            The number of deleted executions; if it is ``BATCH_SIZE``, more may follow.
        """

        def read(connection: Connection, count: int | None) -> list[str]:
            ids: list[str] = []
            ended = select(runs.c.executionId).where(
                runs.c.endedAt.is_not(None),
                runs.c.executionId.not_in(_PENDING_CALLBACKS),
                runs.c.executionId.not_in(_PENDING_ITEMS),
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
            return list(dict.fromkeys(ids))

        def look(connection: Connection) -> tuple[bool, tuple[object, ...]]:
            # Finding the last ``count`` executions reads all of them, so it is not repeated in an
            # idle service.
            changes = (count, *(connection.execute(_CHANGES).one() if count is not None else ()))
            unchanged = changes == self._none_beyond
            return bool(read(connection, None if unchanged else count)), changes

        def write(connection: Connection) -> int:
            ids = read(connection, count)
            if ids:
                delete_executions(connection, ids)
            return len(ids)

        # Reads first, so that an idle service does not take the write lock.
        found, changes = await self._reader.run(look, snapshot=False)
        if found:
            return await self._writer.run(write)
        self._none_beyond = changes
        return 0

    async def delete_expired_keys(self) -> None:
        """Delete idempotency keys that are older than ``IDEMPOTENCY_KEY_TTL_HOURS``."""
        oldest = to_text(self._clock() - timedelta(hours=IDEMPOTENCY_KEY_TTL_HOURS))

        def write(connection: Connection) -> None:
            connection.execute(
                delete(idempotency_keys).where(idempotency_keys.c.createdAt < oldest)
            )

        old = select(idempotency_keys.c.key).where(idempotency_keys.c.createdAt < oldest).limit(1)
        found = await self._reader.run(lambda connection: connection.scalar(old), snapshot=False)
        if found is not None:
            await self._writer.run(write)

    async def delete_unused_payloads(self) -> None:
        """Delete those of the next ``PAYLOADS_PER_SWEEP`` payloads that no execution uses.

        They belonged to executions that another program has deleted.
        """
        found, end = await self._reader.run(
            lambda connection: find_unused(connection, self._swept, PAYLOADS_PER_SWEEP)
        )
        if found:
            await self._writer.run(lambda connection: delete_without_execution(connection, found))
        self._swept = end

    async def vacuum(self) -> bool:
        """Shrink a SQLite file with incremental vacuum; other databases reuse free pages.

        Returns:
            Whether the file can shrink further. Some free pages stay for the next writes.
        """

        def write(connection: Connection) -> bool:
            if not _can_shrink(connection):
                return False
            # One page at a time, because Python's driver executes one step of such a statement.
            for _ in range(PAGES_PER_VACUUM // 2):
                connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
            return True

        # Reads first, so that an idle service does not take the write lock.
        return await self._reader.run(_can_shrink) and await self._writer.run(write)


def _can_shrink(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return False
    shrinks = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == INCREMENTAL
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    return shrinks and free >= PAGES_PER_VACUUM


def delete_executions(connection: Connection, ids: Sequence[str] | Select[tuple[str]]) -> None:
    """Delete executions with all their rows, and documents that no other execution uses."""
    hashes = connection.scalars(
        select(runs.c.definitionHash).where(runs.c.executionId.in_(ids)).distinct()
    ).all()
    # Without the cascade, because foreign keys cannot be enforced in every database.
    connection.execute(delete(logs).where(logs.c.executionId.in_(ids)))
    connection.execute(delete(events).where(events.c.executionId.in_(ids)))
    delete_uses(connection, ids)
    tasks = select(human_tasks.c.id).where(human_tasks.c.executionId.in_(ids))
    for table in (task_answers, task_assignees):
        connection.execute(delete(table).where(table.c.taskId.in_(tasks)))
    for table in (callbacks, event_waits, failures, requests, schedule_runs, human_tasks):
        connection.execute(delete(table).where(table.c.executionId.in_(ids)))
    # The rows of their children are counted as long as the top-level execution exists.
    called = children.c.parentId.in_(ids)
    counted = exists().where(_ROOT.c.id == children.c.rootId, _ROOT.c.id.not_in(ids))
    connection.execute(delete(children).where(called, ~counted))
    connection.execute(update(children).where(called).values(parentId=None))
    connection.execute(delete(runs).where(runs.c.executionId.in_(ids)))
    connection.execute(delete(executions).where(executions.c.id.in_(ids)))
    used = exists().where(runs.c.definitionHash == definitions.c.hash)
    for start in range(0, len(hashes), MAX_BOUND_VALUES):
        batch = hashes[start : start + MAX_BOUND_VALUES]
        connection.execute(delete(definitions).where(definitions.c.hash.in_(batch), ~used))
