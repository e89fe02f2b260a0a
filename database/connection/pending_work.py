"""Pending work: functions of a connection that a thread executes for the tasks of event loops.

A thread that settles the results of several functions notifies each event loop once. A future of
``concurrent.futures`` would notify its loop for each result, with a system call in which the thread
loses the interpreter lock.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class PendingWork(Generic[T]):
    """A function of a connection, and the future of the task that waits for its result."""

    function: Callable[[Connection], T]
    future: "asyncio.Future[T]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def is_wanted(self) -> bool:
        """Whether a task still waits for the result."""
        return not self.future.cancelled()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a function, or the error that it raised."""

    work: PendingWork[Any]
    result: object = None
    error: BaseException | None = None


def settle(outcomes: Iterable[Outcome]) -> None:
    """Return outcomes to the waiting tasks. May be called from any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.work.future.get_loop(), []).append(outcome)
    for loop, own in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed, so that no task waits any more
            loop.call_soon_threadsafe(_set_outcomes, own)


def _set_outcomes(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.work.future
        if future.done():  # cancelled
            continue
        if outcome.error is None:
            future.set_result(outcome.result)
        else:
            future.set_exception(outcome.error)
