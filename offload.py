"""Off-loop work: runs CPU-bound functions in threads, so that event loops stay responsive.

Decision 0022 (``docs/decisions``) defines the work that belongs here. Python cannot end a thread,
so a long-running function calls ``check_stop`` between its steps. It then ends at the node's
timeout and on cancellation.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_INLINE_BYTES = 65_536
"""Maximum size of the data that work on an event loop may read, in bytes."""

MAX_THREADS = 4
"""Maximum number of functions that run at the same time; further ones wait for a thread."""

_threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="off-loop")


@dataclass(slots=True)
class _Work:
    """The limits of the work that runs in a context."""

    stop: threading.Event | None = None
    """Stops the work."""
    left: int | None = None
    """Remaining amount of data that work on an event loop may read; ``None`` outside of a loop."""


_work: ContextVar[_Work] = ContextVar("work", default=_Work())  # noqa: B039 - only copies change


class WorkStoppedError(Exception):
    """The caller was cancelled or timed out, so the result is not needed any more."""


def check_stop() -> None:
    """Raise if the work that this code belongs to was stopped; it takes less than a microsecond.

    Raises:
        WorkStoppedError: If the awaiting task was cancelled or has timed out.
    """
    stop = _work.get().stop
    if stop is not None and stop.is_set():
        raise WorkStoppedError("stopped")


def use_stop_event(event: threading.Event) -> None:
    """Make ``check_stop`` raise in the current context once ``event`` is set."""
    _work.set(replace(_work.get(), stop=event))


class InlineLimitError(Exception):
    """Work on an event loop would read more than MAX_INLINE_BYTES."""


def count_read(size: int) -> None:
    """Count data that the current work reads; call it before the data is read.

    Raises:
        WorkStoppedError: If the awaiting task was cancelled or has timed out.
        InlineLimitError: If the work runs on an event loop and reads too much there;
            ``run_counted`` then calls the function again, off the loop.
    """
    check_stop()
    work = _work.get()
    if work.left is not None:
        work.left -= size
        if work.left < 0:
            raise InlineLimitError


async def run_counted(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``: called here while it reads little, else off the loop.

    A template may read more than the input of its node, so the total is not known in advance.
    ``size`` is the number of bytes or characters that are known to be read; the function calls
    ``count_read`` for all other data. It must not have any effect until it returns, because it may
    be called a second time. It raises the same exceptions as ``run_off_loop``.
    """
    if size <= MAX_INLINE_BYTES:
        token = _work.set(replace(_work.get(), left=MAX_INLINE_BYTES - size))
        try:
            return function(*args, **kwargs)
        except InlineLimitError:
            pass
        finally:
            _work.reset(token)
    return await run_off_loop(function, *args, **kwargs)


async def run_off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, called in a thread with the caller's context variables.

    Raises:
        asyncio.CancelledError: If the caller is cancelled; ``check_stop`` then raises in the
            function, and its result is dropped.
        Exception: If the function raises.
    """
    stop = threading.Event()
    context = copy_context()
    context.run(_work.set, _Work(stop))
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(
            _threads, lambda: context.run(lambda: function(*args, **kwargs))
        )
    except asyncio.CancelledError:
        stop.set()
        raise


async def run_sized(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``: called here if it reads little, otherwise off the loop.

    ``size`` is the maximum number of bytes or characters that the function reads. The function must
    not use the event loop. It raises the same exceptions as ``run_off_loop``.
    """
    if size <= MAX_INLINE_BYTES:
        return function(*args, **kwargs)
    return await run_off_loop(function, *args, **kwargs)
