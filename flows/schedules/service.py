"""Schedule service: lists, pauses, resumes and backfills schedules for clients."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from more_itertools import batched

from database import Database, to_text
from database.queries.listings import Page
from database.queries.results import ScheduleCursor
from database.schedules.records import Instant, NextInstant, PendingLimits, Schedule
from engine.errors import StorageBusyError
from engine.request_errors import InvalidBackfillError, InvalidScheduleError
from flows.schedules.decisions import ScheduleSettings, settings_of
from flows.schedules.documents import ScheduledDocuments, instant_of

MAX_BACKFILL_INSTANTS = 500
"""Maximum number of instants of one backfill."""
BACKFILL_BATCH_SIZE = 25
"""Maximum number of executions that one transaction of a backfill stores."""
MAX_ATTEMPTS = 10
"""Maximum number of attempts to change a schedule that its executions change at the same time."""
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backfill:
    """The result of a backfill."""

    matched: int
    """Number of instants in the interval."""
    started: list[Instant]
    """The instants that had no execution."""


@dataclass(frozen=True, slots=True)
class ScheduleService:
    """Reads and changes schedules."""

    database: Database
    documents: ScheduledDocuments
    pending: PendingLimits
    wake: Callable[[], object]
    """Called after executions were stored."""

    async def page(
        self,
        organization_id: str | None,
        workflow_id: str | None,
        limit: int,
        after: ScheduleCursor | None,
    ) -> Page[Schedule, ScheduleCursor]:
        """Return up to ``limit`` schedules, of one organization or workflow, or of all."""
        return await self.database.schedules.page(organization_id, workflow_id, limit, after)

    async def read(self, schedule_id: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: If the schedule does not exist.
        """
        return (await self.database.schedules.read(schedule_id))[0]

    def next_instants(self, schedule: Schedule, count: int) -> list[str]:
        """Return the next ``count`` instants after now, also of a paused schedule."""
        if schedule.settings is None:
            return []
        after = settings_of(schedule.settings).occurrences.after(self.database.clock())
        return [to_text(instant) for instant in islice(after, count)]

    async def set_paused(self, schedule_id: str, *, paused: bool) -> Schedule:
        """Pause or resume a schedule and return it. A resumed one continues with the next instant.

        Raises:
            ScheduleNotFoundError: If the schedule does not exist.
            StorageBusyError: If the schedule is changed again and again at the same time.
        """
        for _ in range(MAX_ATTEMPTS):
            schedule = await self.read(schedule_id)
            if (schedule.paused_at is not None) == paused:
                return schedule
            following = NextInstant(None, None)
            if schedule.settings is not None:
                settings = settings_of(schedule.settings)
                following = settings.next(schedule.id, self.database.clock())
            if await self.database.schedules.set_next(schedule, following, paused=paused):
                return await self.read(schedule_id)
        raise StorageBusyError(f"Schedule '{schedule_id}' is being changed; try again")

    async def backfill(self, schedule_id: str, since: datetime, until: datetime) -> Backfill:
        """Start an execution for each past instant from ``since`` to ``until`` without one.

        The executions are queued together, whatever ``scheduleOverlap`` is. A repetition starts
        nothing again.

        Raises:
            ScheduleNotFoundError: If the schedule does not exist.
            InvalidScheduleError: If its settings are invalid.
            InvalidBackfillError: If the interval is empty or has too many instants.
            InvalidDocumentError: If the workflow cannot run.
            QueueFullError: If the queue is full; some executions may be stored.
        """
        schedule, workflow = await self.database.schedules.read(schedule_id)
        if schedule.settings is None:
            raise InvalidScheduleError(schedule_id, schedule.error or "")
        settings = settings_of(schedule.settings)
        instants = self._instants(settings, since, until)
        total = await self.documents.total_nodes(workflow.data, schedule.node_id)
        started: list[Instant] = []
        for batch in batched(instants, BACKFILL_BATCH_SIZE):
            prepared = [
                instant_of(workflow, schedule.node_id, settings, instant, total)
                for instant in batch
            ]
            started += await self.database.firings.backfill(schedule_id, prepared, self.pending)
            self.wake()
        return Backfill(len(instants), started)

    def _instants(
        self, settings: ScheduleSettings, since: datetime, until: datetime
    ) -> list[datetime]:
        if since < _FIRST_TIME:
            raise InvalidBackfillError("invalid_interval", "'from' is before 1970", "/from")
        if until <= since:
            detail = f"'to' is {to_text(until)} and should be after 'from'"
            raise InvalidBackfillError("invalid_interval", detail, "/to")
        if until > (now := self.database.clock()):
            detail = f"'to' is {to_text(until)} and should not be after now, {to_text(now)}"
            raise InvalidBackfillError("invalid_interval", detail, "/to")
        found = list(islice(settings.occurrences.between(since, until), MAX_BACKFILL_INSTANTS + 1))
        if len(found) > MAX_BACKFILL_INSTANTS:
            detail = f"the interval has more than {MAX_BACKFILL_INSTANTS} instants; shorten it"
            raise InvalidBackfillError("too_many_instants", detail, "/to")
        return found
