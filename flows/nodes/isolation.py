"""Handler isolation: runs a handler so that it can end its attempt, but nothing else.

Two actions of a handler would affect more than its attempt:

- ``KeyboardInterrupt``, ``SystemExit`` and other exceptions that do not derive from ``Exception``
  would end the event loop, and with it the thread of all executions;
- a handler that suppresses its cancellation would never end, with or without a timeout.

Therefore a handler runs in a separate asyncio task, which is abandoned if it does not stop. Until
then, its progress is accepted.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any

import anyio
import structlog

from engine.errors import PermanentError
from flows.nodes.attempts import current_attempts
from tasks.progress import enter_attempt

log = structlog.get_logger()

HANDLER_CANCEL_TIMEOUT_SECONDS = 2.0
"""Timeout for a cancelled handler in one attempt, in seconds; after it, the handler is abandoned.

The node runs of a cancelled execution share ``NODE_CANCEL_TIMEOUT_SECONDS``, which is longer."""

_abandoned: set[asyncio.Task[object]] = set()
"""Abandoned handlers, kept here because an event loop has only weak references to its tasks."""


def isolated(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Awaitable[Any]]:
    """Return ``function`` as a coroutine function that raises only exceptions of the attempt.

    Raises, when called:
        NodeError: If the function exits, interrupts the process or cancels itself.
        asyncio.CancelledError: If the surrounding task was cancelled.
        Exception: If the function raised it.
    """

    @functools.wraps(function)
    async def run(*args: object, **kwargs: object) -> object:
        context = copy_context()
        attempts = current_attempts()
        progress = None if attempts is None else attempts.progress
        attempt = None if progress is None else progress.begin_attempt()
        if attempt is not None:
            context.run(enter_attempt, attempt)
        call = _convert_exit_to_error(function(*args, **kwargs))
        handler = asyncio.create_task(call, context=context)
        try:
            await asyncio.wait([handler])
        except asyncio.CancelledError:
            if attempt is not None:
                attempt.end(cancelled=True)
            await _stop(handler)
            raise
        if attempt is not None:
            attempt.end()
        if handler.cancelled():
            raise PermanentError("the handler cancelled itself")
        return handler.result()

    return run


async def _convert_exit_to_error(call: Coroutine[Any, Any, object]) -> object:
    try:
        return await call
    except (Exception, asyncio.CancelledError):
        raise
    except SystemExit as error:
        raise PermanentError(f"the handler exited with {error.code!r}") from error
    except BaseException as error:
        raise PermanentError(f"the handler raised {error!r}") from error


async def _stop(handler: asyncio.Task[object]) -> None:
    """Cancel a handler and wait for its end, up to HANDLER_CANCEL_TIMEOUT_SECONDS."""
    handler.cancel()
    # Shielded, because an anyio timeout cancels repeatedly until its scope ends.
    with anyio.CancelScope(shield=True):
        await asyncio.wait([handler], timeout=HANDLER_CANCEL_TIMEOUT_SECONDS)
    if handler.done():
        _take_result(handler)
        return
    log.warning("handler_cancel_timeout", seconds=HANDLER_CANCEL_TIMEOUT_SECONDS)
    _abandoned.add(handler)
    handler.add_done_callback(_abandoned.discard)
    handler.add_done_callback(_take_result)


def _take_result(handler: asyncio.Task[object]) -> None:
    """Read the result, because asyncio logs exceptions that are never read."""
    if not handler.cancelled():
        handler.exception()
