"""Database: all SQL of the service, behind one ``Database`` object.

``connection`` opens the database and ``schema`` migrates it. ``executions`` is the write side: the
queue, the journal, callbacks and child executions. ``queries`` is the read side, ``maintenance``
deletes old executions and checks invariants, and ``workflows`` stores workflow documents.
``schedules`` finds the schedules of saved workflows and starts their executions.
``human_tasks`` lists the tasks of people and records their answers.
``external_events`` accepts events from outside and delivers them to waiting nodes;
``kept_events`` lists those for which no node waited.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from database.bulk.store import BulkStore
from database.bulk.work import BulkWork
from database.clock import Clock, to_text, utc_now
from database.connection.commit_signal import Change, CommitSignal
from database.connection.engines import (
    open_engine,
    open_reading_engine,
    open_writing_engine,
)
from database.connection.measured import MeasuredReader, MeasuredWriter, Observe
from database.connection.process_notifications import ProcessNotifications
from database.connection.reader import PooledReader, Reader, ThreadedReader
from database.connection.urls import is_sqlite, read_address
from database.connection.writer import PooledWriter, SingleWriter, Writer
from database.encryption import DataEncryption
from database.executions.callbacks import Callbacks
from database.executions.child_executions import ChildExecutions
from database.executions.dispatches import Dispatches
from database.executions.failures import FAILURE_WORKFLOWS, FailureWorkflows
from database.executions.hidden_waits import DATA_ENCRYPTION
from database.executions.journal import Journal
from database.executions.permits import Permits
from database.executions.queue import Queue
from database.executions.submissions import Submissions
from database.external_events.kept import KeptEvents
from database.external_events.store import ExternalEvents
from database.human_tasks.store import HumanTasks
from database.human_tasks.timers import TaskTimers
from database.maintenance.invariants import Violation, find_violations
from database.maintenance.retention import Retention
from database.queries.attempts import Attempts
from database.queries.definitions import Definitions
from database.queries.event_feed import EventFeed
from database.queries.executions import ExecutionQueries
from database.queries.failures import FailureQueries
from database.queries.listings import Listings
from database.queries.log_pages import LogPages
from database.queries.model_usage import ModelUsages
from database.queries.polls import Polls
from database.queries.statistics import Statistics
from database.queries.webhook_responses import WebhookResponses
from database.schedules.detection import ScheduleDetection
from database.schedules.firing import Firings
from database.schedules.store import ScheduleStore
from database.schema import ExampleWorkflow, is_prepared, prepare_schema
from database.workflows import SavedWorkflows

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Clock", "Database", "ExampleWorkflow", "Violation", "to_text", "utc_now"]


@dataclass(frozen=True, slots=True)
class _Connections:
    """Reader, writer and engine of one database."""

    reader: Reader
    writer: Writer
    engine: "AsyncEngine | None" = None

    @classmethod
    def open(
        cls,
        url: str,
        commit_signal: CommitSignal,
        failure_workflows: FailureWorkflows | None,
        encryption: DataEncryption,
        *,
        is_timed: bool = True,
    ) -> "_Connections":
        options = {FAILURE_WORKFLOWS: failure_workflows, DATA_ENCRYPTION: encryption}
        if is_sqlite(url):
            reader = ThreadedReader(open_reading_engine(url))
            engine = open_writing_engine(url).execution_options(**options)
            return cls(reader, SingleWriter(engine, commit_signal))
        pool = open_engine(url, is_timed=is_timed).execution_options(**options)
        return cls(PooledReader(pool), PooledWriter(pool, commit_signal), pool)

    async def close(self) -> None:
        await asyncio.to_thread(self.writer.close)
        await asyncio.to_thread(self.reader.close)
        if self.engine is not None:
            await self.engine.dispose()


@dataclass(frozen=True, slots=True)
class _Shared:
    """Parts that the databases of two event loops share."""

    commit_signal: CommitSignal
    connections: _Connections | None


class Database:
    """One database, used from one event loop; ``for_another_loop`` serves a second event loop."""

    def __init__(
        self,
        url: str,
        clock: Clock = utc_now,
        shared: _Shared | None = None,
        encryption: DataEncryption | None = None,
        observe: Observe | None = None,
        failure_workflows: FailureWorkflows | None = None,
    ) -> None:
        self._url = url
        self.clock = clock
        self.commit_signal = shared.commit_signal if shared else CommitSignal()
        opened = shared.connections if shared else None
        self._owns_access = opened is None
        self._failure_workflows = failure_workflows
        self._encryption = encryption or DataEncryption(None, None)
        self._access = opened or _Connections.open(
            url, self.commit_signal, failure_workflows, self._encryption
        )
        reader, writer = self._access.reader, self._access.writer
        self._observe = observe
        if observe is not None:
            reader, writer = MeasuredReader(reader, observe), MeasuredWriter(writer, observe)
        self.submissions = Submissions(reader, writer, clock)
        self.queue = Queue(reader, writer, clock)
        self.dispatches = Dispatches(reader, writer, clock)
        self.journal = Journal(reader, writer, clock, self._encryption)
        self.queries = ExecutionQueries(reader, self._encryption)
        self.polls = Polls(reader, self.queue)
        self.definitions = Definitions(reader)
        self.failures = FailureQueries(reader)
        self.model_usages = ModelUsages(reader)
        self.attempts = Attempts(reader)
        self.log_pages = LogPages(reader)
        self.event_feed = EventFeed(reader)
        self.listings = Listings(reader)
        self.workflows = SavedWorkflows(reader, writer, clock)
        self.webhook_responses = WebhookResponses(reader, self._encryption)
        self.retention = Retention(reader, writer, clock)
        self.permits = Permits(reader, writer, clock)
        self.bulk = BulkStore(reader, writer, clock)
        self.bulk_work = BulkWork(reader, writer, clock)
        self.callbacks = Callbacks(reader, writer, clock)
        self.child_executions = ChildExecutions(reader, writer, clock)
        self.statistics = Statistics(reader, writer, clock)
        self.human_tasks = HumanTasks(reader, writer, clock)
        self.task_timers = TaskTimers(reader, writer, clock)
        self.external_events = ExternalEvents(reader, writer, clock)
        self.kept_events = KeptEvents(reader, writer, clock)
        self.schedules = ScheduleStore(reader, writer, clock)
        self.schedule_detection = ScheduleDetection(reader, writer, clock)
        self.firings = Firings(reader, writer, clock)

    def for_another_loop(self) -> "Database":
        """Return this database for the event loop of another thread; close it before this one."""
        # SQLite's threads serve any event loop; an asynchronous engine belongs to one.
        connections = self._access if is_sqlite(self._url) else None
        return Database(
            self._url,
            self.clock,
            _Shared(self.commit_signal, connections),
            self._encryption,
            self._observe,
            self._failure_workflows,
        )

    async def prepare(self, examples: Sequence[ExampleWorkflow] = ()) -> bool:
        """Migrate the schema; return whether the database is new. See ``prepare_schema``."""
        async with self._without_timeout() as connections:
            return await prepare_schema(connections.writer, self.clock, examples)

    async def is_prepared(self) -> bool:
        """Return whether ``prepare`` has ever created the schema."""
        return await is_prepared(self._access.reader)

    async def find_violations(self, *, service_runs: bool) -> list[Violation]:
        """Return every violated invariant. See ``invariants``."""
        async with self._without_timeout() as connections:
            return await find_violations(connections.reader, self.clock, service_runs=service_runs)

    @asynccontextmanager
    async def _without_timeout(self) -> AsyncGenerator[_Connections]:
        """Yield connections for statements that process whole tables, which can take minutes."""
        if is_sqlite(self._url):
            yield self._access
            return
        connections = _Connections.open(
            self._url,
            self.commit_signal,
            self._failure_workflows,
            self._encryption,
            is_timed=False,
        )
        try:
            yield connections
        finally:
            await connections.close()

    async def follow_other_processes(self, on_changes: Callable[[Set[Change]], object]) -> None:
        """Let ``commit_signal`` include the commits of other processes, and call ``on_changes``.

        Returns at once where this is not possible: on SQLite and behind a pooler.
        """
        address = read_address(self._url)
        if address.file is not None or address.is_pooled:
            return
        writer, signal = self._access.writer, self.commit_signal
        await ProcessNotifications(address.arguments, writer, signal).follow_forever(on_changes)

    async def close(self) -> None:
        """Execute the queued writes and close every connection."""
        if self._owns_access:
            await self._access.close()
