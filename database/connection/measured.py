"""Measured access: a reader and a writer that report the duration of each transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar

from database.connection.reader import Query, Reader
from database.connection.writer import Write, Writer

T = TypeVar("T")

Observe = Callable[[Literal["read", "write"], float], None]
"""Called with the kind of each transaction and its duration, in seconds, also if it failed."""


@dataclass(frozen=True, slots=True)
class MeasuredReader:
    """Reader that reports durations."""

    reader: Reader
    observe: Observe

    async def run(self, query: Query[T], *, snapshot: bool = True, brief: bool = False) -> T:
        """See ``Reader``."""
        started = perf_counter()
        try:
            return await self.reader.run(query, snapshot=snapshot, brief=brief)
        finally:
            self.observe("read", perf_counter() - started)

    def close(self) -> None:
        """See ``Reader``."""
        self.reader.close()


@dataclass(frozen=True, slots=True)
class MeasuredWriter:
    """Writer that reports durations."""

    writer: Writer
    observe: Observe

    async def run(self, change: Write[T], *, urgent: bool = False) -> T:
        """See ``Writer``."""
        started = perf_counter()
        try:
            return await self.writer.run(change, urgent=urgent)
        finally:
            self.observe("write", perf_counter() - started)

    def close(self) -> None:
        """See ``Writer``."""
        self.writer.close()
