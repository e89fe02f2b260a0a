"""Scripted database: records the virtual time of each operation and answers as a test requires."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from database import Database
from database.connection.commit_signal import CommitSignal

START = datetime(2026, 1, 1, tzinfo=UTC)


class _Part:
    """One part of the database, such as ``queue``; its methods are operations."""

    limits = None

    def __init__(self, calls: "ScriptedDatabase", name: str) -> None:
        self._calls, self._name = calls, name
        self.holds_back = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any) -> Any:
            return await self._calls.answer(f"{self._name}.{name}", arguments)

        return call


class ScriptedDatabase:
    """A database without data.

    ``answers`` contains the next results of an operation, by its name such as ``queue.renew``. An
    exception is raised, a function is called with the arguments, and the last one is repeated.
    Operations without an answer return ``None``.
    """

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {name.replace("__", "."): found for name, found in answers.items()}
        self.calls: list[tuple[float, str]] = []
        self.arguments: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self.commit_signal = CommitSignal()
        for name in ("queue", "dispatches", "retention", "external_events", "child_executions"):
            self.add(name)
        for name in ("task_timers", "permits", "callbacks"):
            self.add(name)

    def add(self, name: str) -> None:
        """Add a part, such as ``queries``."""
        setattr(self, name, _Part(self, name))

    @property
    def typed(self) -> Database:
        """This object as the type that its users require."""
        return cast("Database", self)

    def clock(self) -> datetime:
        """Return the virtual time as a time of the clock."""
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    async def follow_other_processes(self, listener: Callable[..., Any]) -> None:
        await self.answer("follow_other_processes", (listener,))

    async def answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        self.calls.append((round(asyncio.get_running_loop().time(), 3), name))
        self.arguments[name].append(arguments)
        answers = self.answers.get(name)
        if not answers:
            return None
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        if callable(found):
            found = found(*arguments)
            if asyncio.iscoroutine(found):
                return await found
        return found

    def times(self, name: str) -> list[float]:
        """Return the virtual times of an operation."""
        return [moment for moment, called in self.calls if called == name]


async def run_for(seconds: float, loop: Any) -> None:
    """Run a coroutine that does not end, and cancel it after a virtual time."""
    task = asyncio.ensure_future(loop)
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError), results
