"""Off-loop work: runs CPU-bound functions in threads, so that event loops stay responsive.

Decision 0022 (``docs/decisions``) says which work belongs here. Python cannot end a thread, so a
function that runs for long calls ``check_stop`` between its steps: it then ends at the node's
timeout and on cancellation.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_INLINE_BYTES = 65_536
"""Maximum size of the data that work on an event loop may read, in bytes."""

MAX_THREADS = 4
"""Maximum number of functions that run at the same time; further ones wait for a thread."""

_threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="off-loop")
_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


class WorkStoppedError(Exception):
    """The caller was cancelled or timed out, so the result is not needed any more."""


def check_stop() -> None:
    """Raise if the work that this code belongs to was stopped; costs less than a microsecond.

    Raises:
        WorkStoppedError: If the awaiting task was cancelled or has timed out.
    """
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise WorkStoppedError("stopped")


def use_stop_event(event: threading.Event) -> None:
    """Have ``check_stop`` in the current context raise once ``event`` is set."""
    _stop.set(event)


async def run_off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, called in a thread with the caller's context variables.

    Raises:
        asyncio.CancelledError: If the caller is cancelled; ``check_stop`` then raises in the
            function, and its result is dropped.
        Exception: If the function raises.
    """
    stop = threading.Event()
    context = copy_context()
    context.run(_stop.set, stop)
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

    Args:
        size: Number of bytes or characters that the function reads at most.
        function: The work; it must not use the event loop.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        asyncio.CancelledError: If the caller is cancelled while the function runs in a thread.
        Exception: If the function raises.
    """
    if size <= MAX_INLINE_BYTES:
        return function(*args, **kwargs)
    return await run_off_loop(function, *args, **kwargs)
