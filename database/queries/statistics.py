"""Statistics: numbers of the queue for monitoring, and a probe that writes to the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Text, and_, bindparam, case, func, select

from database.clock import Clock, to_text
from database.connection.engines import insert_of
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.event_waits import KEPT
from database.foreign_values import text_of
from database.tables import CLAIMABLE_NOW, events, executions, runs, service_metadata
from database.waiting_tables import external_events, human_tasks
from engine.human_tasks import TaskStatus
from engine.status import OPEN

PROBE = "lastProbe"
"""Name of the entry that readiness checks write."""

_STATUSES = (
    select(executions.c.status, func.count())
    .select_from(runs)
    .join(executions, executions.c.id == runs.c.executionId)
    .where(runs.c.endedAt.is_(None))
    .group_by(executions.c.status)
)
# A queued execution waits since its last event, another one since the end of its wait.
_SINCE = case((runs.c.claimableAt == CLAIMABLE_NOW, events.c.at), else_=runs.c.claimableAt)
_QUEUE = (
    select(func.count().label("depth"), func.min(_SINCE).label("since"))
    .select_from(runs)
    .outerjoin(
        events,
        and_(events.c.executionId == runs.c.executionId, events.c.seq == runs.c.seq),
    )
    .where(runs.c.owner.is_(None), runs.c.claimableAt <= bindparam("now", type_=Text))
)
_TASKS = select(func.count()).where(human_tasks.c.status == TaskStatus.OPEN)
_EVENTS = select(func.count()).where(external_events.c.status == KEPT)
_WAITING = select(
    _TASKS.scalar_subquery().label("tasks"), _EVENTS.scalar_subquery().label("events")
)


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """State of the queue at one moment."""

    open_executions: Mapping[str, int]
    """Number of executions that have not ended, by status; every such status is a key."""
    depth: int
    """Number of executions that a worker may claim now."""
    oldest_seconds: float
    """Time since the oldest of them became claimable, in seconds; 0 without any."""
    open_tasks: int
    """Number of tasks that wait for people."""
    kept_events: int
    """Number of events from outside that no node has received yet."""


class Statistics:
    """Reads numbers for monitoring."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def read_queue(self) -> QueueStatistics:
        """Return the state of the queue."""
        now = self._clock()

        def read(connection: Connection) -> QueueStatistics:
            counts: dict[str, int] = dict.fromkeys(sorted(OPEN), 0)
            for status, count in connection.execute(_STATUSES):
                # Another program may have written any status, which then has ended.
                if (name := text_of(status)) is not None and name in counts:
                    counts[name] = count
            queue = connection.execute(_QUEUE, {"now": to_text(now)}).one()
            waiting = connection.execute(_WAITING).one()
            since = _seconds_since(queue.since, now)
            return QueueStatistics(counts, queue.depth, since, waiting.tasks, waiting.events)

        return await self._reader.run(read)

    async def probe_write(self) -> None:
        """Write one row and commit it.

        Raises:
            StorageError: If the database cannot be written.
        """
        now = to_text(self._clock())

        def write(connection: Connection) -> None:
            statement = insert_of(connection.dialect.name)(service_metadata)
            statement = statement.values(name=PROBE, value=now).on_conflict_do_update(
                index_elements=["name"], set_={"value": now}
            )
            connection.execute(statement)

        await self._writer.run(write)


def _seconds_since(stored: str | None, now: datetime) -> float:
    """Return the seconds since a stored timestamp; 0 if there is none, or it is in the future."""
    if not stored:
        return 0.0
    return max(0.0, (now - datetime.fromisoformat(stored)) / timedelta(seconds=1))
