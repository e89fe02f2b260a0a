"""All SQL of the service. Nobody else writes any: callers use what ``Database`` offers.

``connection`` opens it, ``schema`` brings it up to date, ``queue`` takes executions in and hands
them out, ``journal`` records how they go, ``reads`` answers questions.
"""

import asyncio
from collections.abc import Sequence

from database.clock import Clock, to_text, utc_now
from database.connection import is_sqlite, open_engine, open_writing_engine
from database.journal import Journal
from database.queue import Queue
from database.reads import Reads
from database.schema import ExampleWorkflow, prepare_schema
from database.writer import PooledWriter, SingleWriter, Writer

__all__ = ["Clock", "Database", "ExampleWorkflow", "to_text", "utc_now"]


class Database:
    """One database, used from one event loop; ``for_another_loop`` gives another loop its own."""

    def __init__(self, url: str, clock: Clock = utc_now, writer: Writer | None = None) -> None:
        self._url = url
        self._clock = clock
        self._engine = open_engine(url)
        self._owns_writer = writer is None
        self._writer = writer or self._open_writer()
        self.queue = Queue(self._engine, self._writer, clock)
        self.journal = Journal(self._engine, self._writer, clock)
        self.reads = Reads(self._engine)

    def _open_writer(self) -> Writer:
        if is_sqlite(self._url):
            return SingleWriter(open_writing_engine(self._url))
        return PooledWriter(self._engine)

    def for_another_loop(self) -> "Database":
        """The same database for the event loop of another thread; close it before this one."""
        shared = self._writer if is_sqlite(self._url) else None
        return Database(self._url, self._clock, shared)

    async def prepare(self, examples: Sequence[ExampleWorkflow] = ()) -> bool:
        """Brings the schema up to date; says whether the database is new. See ``schema``."""
        return await prepare_schema(self._writer, self._clock, examples)

    async def close(self) -> None:
        """Writes what is queued and closes every connection."""
        if self._owns_writer:
            await asyncio.to_thread(self._writer.close)
        await self._engine.dispose()
