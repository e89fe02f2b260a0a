"""Schedule store: reads, pauses and resumes schedules."""

from sqlalchemy import Connection, and_, or_, update

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.foreign_values import required_text_of, text_of
from database.queries.listings import Page, page_of
from database.queries.results import ScheduleCursor
from database.records import Workflow
from database.schedules.records import NextInstant, Schedule
from database.schedules.rows import SCHEDULES, schedule_of
from database.tables import schedules, workflows
from engine.request_errors import ScheduleNotFoundError


class ScheduleStore:
    """Reads and changes schedules; their executions are started by ``Firings``."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def read(self, schedule_id: str) -> tuple[Schedule, Workflow]:
        """Return a schedule and the workflow that it starts.

        Raises:
            ScheduleNotFoundError: If the schedule does not exist.
        """
        if "\0" in schedule_id:
            raise ScheduleNotFoundError(schedule_id)  # PostgreSQL rejects the parameter
        query = SCHEDULES.add_columns(workflows.c.data).where(schedules.c.id == schedule_id)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        if row is None:
            raise ScheduleNotFoundError(schedule_id)
        schedule = schedule_of(row)
        workflow = Workflow(
            schedule.workflow_id,
            schedule.workflow_name,
            required_text_of(row.data),
            text_of(row.organizationId),
        )
        return schedule, workflow

    async def page(
        self,
        organization_id: str | None,
        workflow_id: str | None,
        limit: int,
        after: ScheduleCursor | None = None,
    ) -> Page[Schedule, ScheduleCursor]:
        """Return up to ``limit`` schedules in the order of their workflows and nodes."""
        query = SCHEDULES.order_by(schedules.c.workflowId, schedules.c.nodeId).limit(limit + 1)
        if organization_id is not None:
            query = query.where(workflows.c.organizationId == organization_id)
        if workflow_id is not None:
            query = query.where(schedules.c.workflowId == workflow_id)
        if after is not None:
            same = and_(
                schedules.c.workflowId == after.workflow_id, schedules.c.nodeId > after.node_id
            )
            query = query.where(or_(schedules.c.workflowId > after.workflow_id, same))
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return page_of(
            rows, limit, schedule_of, lambda last: ScheduleCursor(last.workflowId, last.nodeId)
        )

    async def set_next(
        self, schedule: Schedule, following: NextInstant, *, paused: bool | None = None
    ) -> bool:
        """Replace the next instant of an unchanged schedule, and pause or resume it if requested.

        A paused schedule is not due. A blocked one is not blocked any more.

        Returns:
            Whether the schedule was unchanged.
        """

        def write(connection: Connection) -> bool:
            now = to_text(self._clock())
            values: dict[str, str | None] = {
                "nextAt": following.next_at,
                "handledAt": now,
                "blockedBy": None,
            }
            paused_at = schedule.paused_at
            if paused is not None:
                paused_at = values["pausedAt"] = (paused_at or now) if paused else None
            values["dueAt"] = following.due_at if paused_at is None else None
            unchanged = update(schedules).where(
                schedules.c.id == schedule.id,
                schedules.c.handledAt == schedule.handled_at,
                schedules.c.settings.is_not_distinct_from(schedule.settings),
                schedules.c.nextAt.is_not_distinct_from(schedule.next_at),
                schedules.c.pausedAt.is_not_distinct_from(schedule.paused_at),
            )
            return connection.execute(unchanged.values(**values)).rowcount == 1

        return await self._writer.run(write)
