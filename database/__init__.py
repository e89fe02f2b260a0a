"""All SQL of the service. Nobody else writes any: callers use what ``Database`` offers.

``connection`` opens it, ``schema`` brings it up to date, ``submissions`` takes executions in,
``queue`` hands them out, ``journal`` records how they go, ``reads`` answers questions, ``news``
tells what happened since, ``callbacks`` who wants to know how they ended, ``children``
what nodes call, ``replies`` what callers of webhooks are answered, ``lists`` gives pages of what
there is, ``workflows`` saves documents.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from database.clock import Clock, to_text, utc_now
from database.connection.commit_signal import CommitSignal
from database.connection.engines import (
    open_engine,
    open_reading_engine,
    open_writing_engine,
)
from database.connection.reader import PooledReader, Reader, ThreadedReader
from database.connection.urls import is_sqlite
from database.connection.writer import PooledWriter, SingleWriter, Writer
from database.encryption import DataEncryption
from database.executions.callbacks import Callbacks
from database.executions.child_executions import ChildExecutions
from database.executions.journal import Journal
from database.executions.queue import Queue
from database.executions.submissions import Submissions
from database.maintenance.invariants import Violation, find_violations
from database.maintenance.retention import Retention
from database.queries.event_feed import EventFeed
from database.queries.executions import ExecutionQueries
from database.queries.listings import Listings
from database.queries.log_pages import LogPages
from database.queries.webhook_responses import WebhookResponses
from database.schema import ExampleWorkflow, is_prepared, prepare_schema
from database.workflows import SavedWorkflows

__all__ = ["Clock", "Database", "ExampleWorkflow", "Violation", "to_text", "utc_now"]


@dataclass(frozen=True, slots=True)
class _Connections:
    """The ways to the data; ``close`` ends them, after what is queued."""

    reader: Reader
    writer: Writer
    engine: AsyncEngine | None = None

    @classmethod
    def open(cls, url: str, commit_signal: CommitSignal) -> "_Connections":
        if is_sqlite(url):
            reader = ThreadedReader(open_reading_engine(url))
            return cls(reader, SingleWriter(open_writing_engine(url), commit_signal))
        engine = open_engine(url)
        return cls(PooledReader(engine), PooledWriter(engine, commit_signal), engine)

    async def close(self) -> None:
        await asyncio.to_thread(self.writer.close)
        await asyncio.to_thread(self.reader.close)
        if self.engine is not None:
            await self.engine.dispose()


class Database:
    """One database, used from one event loop; ``for_another_loop`` gives another loop its own."""

    def __init__(
        self,
        url: str,
        clock: Clock = utc_now,
        shared: _Connections | None = None,
        commit_signal: CommitSignal | None = None,
        encryption: DataEncryption | None = None,
    ) -> None:
        self._url = url
        self.clock = clock
        self.commit_signal = commit_signal or CommitSignal()
        self._owns_access = shared is None
        self._access = shared or _Connections.open(url, self.commit_signal)
        reader, writer = self._access.reader, self._access.writer
        self._encryption = encryption or DataEncryption(None, None)
        self.submissions = Submissions(reader, writer, clock)
        self.queue = Queue(reader, writer, clock)
        self.journal = Journal(reader, writer, clock, self._encryption)
        self.queries = ExecutionQueries(reader, self._encryption)
        self.log_pages = LogPages(reader)
        self.event_feed = EventFeed(reader)
        self.listings = Listings(reader)
        self.workflows = SavedWorkflows(reader, writer, clock)
        self.webhook_responses = WebhookResponses(reader, self._encryption)
        self.retention = Retention(reader, writer, clock)
        self.callbacks = Callbacks(reader, writer, clock)
        self.child_executions = ChildExecutions(reader, writer, clock)

    def for_another_loop(self) -> "Database":
        """The same database for the event loop of another thread; close it before this one."""
        # Threads serve any loop; the connections of an asynchronous engine are of one.
        shared = self._access if is_sqlite(self._url) else None
        return Database(self._url, self.clock, shared, self.commit_signal, self._encryption)

    async def prepare(self, examples: Sequence[ExampleWorkflow] = ()) -> bool:
        """Brings the schema up to date; says whether the database is new. See ``schema``."""
        return await prepare_schema(self._access.writer, self.clock, examples)

    async def is_prepared(self) -> bool:
        """Whether the schema is there; ``prepare`` makes it."""
        return await is_prepared(self._access.reader)

    async def find_violations(self, *, service_runs: bool) -> list[Violation]:
        """What is not as it must be. See ``invariants``."""
        return await find_violations(self._access.reader, self.clock, service_runs=service_runs)

    async def close(self) -> None:
        """Writes what is queued and closes every connection."""
        if self._owns_access:
            await self._access.close()
