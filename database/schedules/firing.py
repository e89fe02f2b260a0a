"""Firing: starts the executions of due schedules, each instant once.

The transaction that stores an execution also stores its ``(scheduleId, instant)`` and the next
instant of the schedule. It changes nothing if another worker has handled the schedule before.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Text, and_, bindparam, exists, or_, select, update
from sqlalchemy.exc import IntegrityError

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.completion import cancel
from database.executions.submissions import insert_execution, require_capacity
from database.foreign_values import required_text_of, text_of
from database.records import Workflow
from database.schedules.records import (
    Fired,
    Firing,
    Instant,
    NextInstant,
    PendingLimits,
    Schedule,
)
from database.schedules.rows import SCHEDULES, schedule_of
from database.tables import runs, schedule_runs, schedules, workflows
from engine.errors import QueueFullError
from engine.request_errors import ScheduleNotFoundError

CLOCK_TOLERANCE_SECONDS = 60.0
"""Tolerance for schedules that a service handled whose clock was ahead, in seconds."""
FULL_QUEUE_PAUSE_SECONDS = 5.0
"""Pause of a schedule after its execution found no place in the queue, in seconds."""

_NOW = bindparam("now", type_=Text)
_IS_DUE = schedules.c.dueAt <= _NOW
_IS_AHEAD = schedules.c.handledAt > bindparam("beyond", type_=Text)
_IS_UNBLOCKED = and_(
    schedules.c.blockedBy.is_not(None),
    ~exists().where(runs.c.executionId == schedules.c.blockedBy, runs.c.endedAt.is_(None)),
    schedules.c.pausedAt.is_(None),
)
_CONDITIONS = (_IS_AHEAD, _IS_DUE, _IS_UNBLOCKED)
_ANY_WORK = select(*(exists(select(schedules.c.id).where(one)) for one in _CONDITIONS))
_WORK = (
    SCHEDULES.add_columns(workflows.c.data)
    .where(or_(*_CONDITIONS))
    .order_by(schedules.c.dueAt)
    .limit(bindparam("most"))
)
_OPEN = (
    select(schedule_runs.c.executionId, runs.c.executionId.label("stored"), runs.c.endedAt)
    .outerjoin(runs, runs.c.executionId == schedule_runs.c.executionId)
    .where(schedule_runs.c.scheduleId == bindparam("schedule"), schedule_runs.c.isOpen == 1)
    .order_by(schedule_runs.c.instant)
)


class Firings:
    """Finds due schedules and starts their executions."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def due(self, most: int) -> list[tuple[Schedule, Workflow]]:
        """Return up to ``most`` schedules to handle now, with the workflows to run.

        These are due schedules, blocked ones whose execution has ended, and those that were
        handled at a later time than now, before the clock was set back.
        """

        def read(connection: Connection) -> list[tuple[Schedule, Workflow]]:
            beyond = self._clock() + timedelta(seconds=CLOCK_TOLERANCE_SECONDS)
            times = {"now": to_text(self._clock()), "beyond": to_text(beyond)}
            if not any(connection.execute(_ANY_WORK, times).one()):
                return []
            return [
                (
                    schedule_of(row),
                    Workflow(
                        required_text_of(row.workflowId),
                        required_text_of(row.workflowName),
                        required_text_of(row.data),
                        text_of(row.organizationId),
                    ),
                )
                for row in connection.execute(_WORK, {**times, "most": most})
            ]

        return await self._reader.run(read, snapshot=False)

    def is_ahead(self, schedule: Schedule) -> bool:
        """Return whether a schedule was handled at a later time than now."""
        beyond = self._clock() + timedelta(seconds=CLOCK_TOLERANCE_SECONDS)
        return schedule.handled_at > to_text(beyond)

    async def fire(self, firing: Firing, limits: PendingLimits) -> Fired | None:
        """Start the executions of a schedule and record its next instant.

        Returns:
            The executions; ``None`` if the schedule, or its workflow, was changed before.

        Raises:
            StorageError: If the database is unavailable; nothing is stored.
        """
        try:
            return await self._writer.run(lambda connection: self._fire(connection, firing, limits))
        except IntegrityError:
            # The organization of the workflow does not exist, or the workflow was deleted.
            skipped = firing.instants[-1].at if firing.instants else firing.next.next_at or ""
            rejected = Firing(
                firing.schedule, firing.overlap, (), firing.next, (skipped, "invalid")
            )
            return await self._writer.run(
                lambda connection: self._fire(connection, rejected, limits)
            )

    def _fire(self, connection: Connection, firing: Firing, limits: PendingLimits) -> Fired | None:
        before = firing.schedule
        if not _is_unchanged(connection, before):
            return None
        now = to_text(self._clock())
        opened = _open_executions(connection, before.id)
        step = _Step(firing, opened)
        stopped = cancel(connection, opened, now) if step.cancels else []
        started: list[Instant] = []
        after, blocked_by, full = step.next, step.blocked_by, False
        for instant in step.instants:
            try:
                organization = instant.submission.organization_id
                require_capacity(connection, organization, limits.total, limits.per_organization)
            except QueueFullError:
                pause = timedelta(seconds=FULL_QUEUE_PAUSE_SECONDS)
                after, blocked_by = NextInstant(instant.at, to_text(self._clock() + pause)), None
                full = True
                break
            if not _has_execution(connection, before.id, instant.at):
                _store(connection, before.id, instant, now, is_open=True)
                started.append(instant)
            elif blocked_by is not None:
                after, blocked_by = NextInstant(after.next_at, now), None
        values: dict[str, str | None] = {
            "nextAt": after.next_at,
            "dueAt": after.due_at,
            "blockedBy": blocked_by,
            "handledAt": now,
        }
        if started:
            values["lastInstant"] = started[-1].at
            values["lastExecutionId"] = started[-1].submission.execution_id
        if step.skipped is not None:
            values["lastSkippedInstant"], values["lastSkipReason"] = step.skipped
        connection.execute(update(schedules).where(schedules.c.id == before.id).values(**values))
        return Fired([one.submission.execution_id for one in started], stopped, full)

    async def backfill(
        self, schedule_id: str, instants: Sequence[Instant], limits: PendingLimits
    ) -> list[Instant]:
        """Store an execution for each instant without one; return the instants of the new ones.

        Raises:
            ScheduleNotFoundError: If the schedule does not exist.
            QueueFullError: If the queue is full; nothing is stored.
            StorageError: If the database is unavailable; nothing is stored.
        """

        def write(connection: Connection) -> list[Instant]:
            now = to_text(self._clock())
            # Locked, so that no other service stores the same instant.
            row = select(schedules.c.id).where(schedules.c.id == schedule_id).with_for_update()
            if connection.execute(row).first() is None:
                raise ScheduleNotFoundError(schedule_id)
            started: list[Instant] = []
            for instant in instants:
                if not _has_execution(connection, schedule_id, instant.at):
                    organization = instant.submission.organization_id
                    require_capacity(
                        connection, organization, limits.total, limits.per_organization
                    )
                    _store(connection, schedule_id, instant, now, is_open=False)
                    started.append(instant)
            return started

        return await self._writer.run(write)


class _Step:
    """The effect of the overlap policy on a firing."""

    def __init__(self, firing: Firing, opened: Sequence[str]) -> None:
        self.next = firing.next
        self.blocked_by: str | None = None
        self.skipped = firing.skipped
        self.cancels = False
        self.instants = list(firing.instants)
        if not self.instants or firing.overlap == "allow":
            return
        if firing.overlap == "queue":
            self._queue(opened)
            return
        *earlier, last = self.instants
        self.cancels = firing.overlap == "cancel" and bool(opened)
        if firing.overlap == "skip" and opened:
            self.instants, self.skipped = [], (last.at, "overlap")
        else:
            self.instants = [last]
            if earlier:
                self.skipped = (earlier[-1].at, "overlap")

    def _queue(self, opened: Sequence[str]) -> None:
        """Start the first instant if no execution is open; the next one waits for its end."""
        first, *others = self.instants
        if opened:
            self.instants, self.blocked_by = [], opened[-1]
            self.next = NextInstant(first.at, None)
        else:
            self.instants = [first]
            if others:
                self.blocked_by = first.submission.execution_id
                self.next = NextInstant(others[0].at, None)


def _is_unchanged(connection: Connection, before: Schedule) -> bool:
    """Return whether a schedule, which is locked now, is as it was read, and has a workflow."""
    query = (
        select(schedules.c.id)
        .where(
            schedules.c.id == before.id,
            schedules.c.nextAt == before.next_at,
            schedules.c.settings == before.settings,
            schedules.c.handledAt == before.handled_at,
            schedules.c.pausedAt.is_(None),
            exists().where(workflows.c.id == schedules.c.workflowId),
        )
        .with_for_update()
    )
    return connection.execute(query).first() is not None


def _open_executions(connection: Connection, schedule_id: str) -> list[str]:
    """Return the executions of a schedule that have not ended; unmark the others."""
    rows = connection.execute(_OPEN, {"schedule": schedule_id}).all()
    ended = [row.executionId for row in rows if row.stored is None or row.endedAt is not None]
    if ended:
        connection.execute(
            update(schedule_runs).where(schedule_runs.c.executionId.in_(ended)).values(isOpen=None)
        )
    return [row.executionId for row in rows if row.executionId not in ended]


def _has_execution(connection: Connection, schedule_id: str, instant: str) -> bool:
    key = (schedule_runs.c.scheduleId == schedule_id, schedule_runs.c.instant == instant)
    return connection.execute(select(schedule_runs.c.executionId).where(*key)).first() is not None


def _store(
    connection: Connection, schedule_id: str, instant: Instant, now: str, *, is_open: bool
) -> None:
    """Store the execution of an instant and its key."""
    insert_execution(connection, instant.submission, now)
    connection.execute(
        schedule_runs.insert(),
        {
            "scheduleId": schedule_id,
            "instant": instant.at,
            "executionId": instant.submission.execution_id,
            "isOpen": 1 if is_open else None,
        },
    )
