"""Scheduler: finds the schedules of saved workflows and starts their executions.

Every service runs one. A firing is one transaction, which changes nothing if another service has
handled the same instant.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from database import Database
from database.records import Workflow
from database.schedules.records import (
    Fired,
    Firing,
    Instant,
    NextInstant,
    PendingLimits,
    Schedule,
    WorkflowVersion,
)
from engine.errors import InvalidDocumentError, StorageError
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from flows.schedules.decisions import decide, settings_of
from flows.schedules.documents import ScheduledDocuments, instant_of, schedules_of
from offload import run_sized
from tasks.registry import NodeTypes

log = structlog.get_logger()

MAX_SEARCH_SHARE = 0.02
"""Maximum share of the time that searches for changed workflows take."""
MAX_SEARCH_PAUSE_SECONDS = 5.0
"""Maximum pause between two searches for changed workflows, in seconds."""
FIRING_BATCH_SIZE = 50
"""Maximum number of schedules that are handled at once."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Settings of the scheduler; the composition root fills them in."""

    pending: PendingLimits
    poll_interval_seconds: float
    document_limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS


@dataclass(slots=True)
class Scheduler:
    """Keeps the schedules up to date and starts due executions."""

    database: Database
    node_types: NodeTypes
    settings: SchedulerSettings
    on_started: Callable[[], object]
    """Called after executions were stored or cancelled."""
    _documents: ScheduledDocuments = field(init=False)
    _is_searched: bool = False
    """Whether all changed workflows were found since the last change."""
    _compared_to: str | None = None
    """The workflow up to which documents were compared; ``None`` if all of them were."""

    def __post_init__(self) -> None:
        self._documents = ScheduledDocuments(self.node_types, self.settings.document_limits)

    async def run_forever(self) -> None:
        """Search for changed workflows and start due executions at every interval."""
        loop = asyncio.get_running_loop()
        poll = self.settings.poll_interval_seconds
        next_search = loop.time()
        while True:
            try:
                if (started := loop.time()) >= next_search:
                    await self.search()
                    duration = loop.time() - started
                    pause = min(duration / MAX_SEARCH_SHARE, MAX_SEARCH_PAUSE_SECONDS)
                    next_search = started + max(poll * 0.9, pause)
                while await self.fire_due():
                    pass
            except StorageError as error:
                log.warning("database_unavailable", operation="schedules", reason=str(error))
            except Exception:
                log.exception("schedules_failed")
            await asyncio.sleep(poll)

    async def search(self) -> None:
        """Store the schedules of workflows that were added, changed or deleted.

        If no program has changed the database, this reads one counter.
        """
        detection = self.database.schedule_detection
        if await detection.has_changes():
            self._is_searched = False
            self._compared_to = self._compared_to or ""
        seen: set[str] = set()
        while not self._is_searched:
            found = await detection.changed_workflows()
            new = {version.workflow_id for version in found.changed} - seen
            if new or found.deleted:
                await self._store(found.changed, found.deleted)
            seen |= new
            self._is_searched = not (found.may_have_more and (new or found.deleted))
        if self._compared_to is not None:
            changed, self._compared_to = await detection.changed_documents(self._compared_to)
            if changed:
                await self._store(changed, ())

    async def _store(self, versions: Sequence[WorkflowVersion], deleted: Sequence[str]) -> None:
        now = self.database.clock()
        searched = [
            await run_sized(len(version.document or ""), schedules_of, version, now)
            for version in versions
        ]
        await self.database.schedule_detection.store(searched, deleted)
        if any(workflow.found for workflow in searched) or deleted:
            log.info(
                "schedules_updated",
                workflows=sum(bool(workflow.found) for workflow in searched),
                deleted=len(deleted),
            )

    async def fire_due(self) -> bool:
        """Start the executions of due schedules; return whether more may be due."""
        now = self.database.clock()
        due = await self.database.firings.due(FIRING_BATCH_SIZE)
        results = await asyncio.gather(*(self._handle(*pair, now) for pair in due))
        fired = [result for result in results if result is not None]
        started = sum(len(result.started) for result in fired)
        if started or any(result.stopped for result in fired):
            log.info("schedules_fired", executions=started)
            self.on_started()
        is_full = any(result.is_queue_full for result in fired)
        return len(due) == FIRING_BATCH_SIZE and bool(fired) and not is_full

    async def _handle(self, schedule: Schedule, workflow: Workflow, now: datetime) -> Fired | None:
        firings = self.database.firings
        if schedule.settings is None or firings.is_ahead(schedule):
            await self._restart(schedule, now)
            return Fired(())
        settings = settings_of(schedule.settings)
        decision = decide(schedule, settings, now)
        skipped, node_id = decision.skipped, schedule.node_id
        instants: list[Instant] = []
        try:
            if decision.instants:
                total = await self._documents.total_nodes(workflow.data, node_id)
                instants = [
                    instant_of(workflow, node_id, settings, instant, total)
                    for instant in decision.instants
                ]
        except InvalidDocumentError as error:
            last = decision.instants[-1]
            skipped = (settings.due(schedule.id, last).next_at or "", "invalid")
            log.warning(
                "schedule_skipped", workflow_id=workflow.id, node_id=node_id, reason=str(error)
            )
        overlap = settings.config.schedule_overlap
        firing = Firing(schedule, overlap, instants, decision.next, skipped)
        return await firings.fire(firing, self.settings.pending)

    async def _restart(self, schedule: Schedule, now: datetime) -> None:
        """Let a schedule continue from now, because the clock was set back.

        Instants that started an execution before do not start another one.
        """
        following = NextInstant(None, None)
        if schedule.settings is not None:
            following = settings_of(schedule.settings).next(schedule.id, now)
        if await self.database.schedules.set_next(schedule, following):
            log.warning("schedule_restarted", schedule_id=schedule.id, reason="clock set back")
