"""Calling a handler so that it can end its attempt, and nothing else.

Two things that a handler may do would reach further:

- ``KeyboardInterrupt``, ``SystemExit`` and whatever else is no ``Exception`` would leave the event
  loop, and with it end the thread of all executions;
- a handler that swallows its cancellation would never come to its end, timeout or not.

So a handler runs in an asyncio task of its own, which is left behind when it does not stop. What it
reports counts until then, and not after.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any

import anyio
import structlog

from engine.errors import NodeError
from flows.nodes.progress import node_progress
from tasks.progress import enter_attempt

log = structlog.get_logger()

HANDLER_CANCEL_TIMEOUT_SECONDS = 2.0
"""How long a handler may take to come to its end after it was cancelled."""

_left_behind: set[asyncio.Task[object]] = set()
"""An event loop holds its tasks weakly only."""


def isolated(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Awaitable[Any]]:
    """``function`` as a coroutine function that raises nothing but what a caller can expect.

    Raises, when called:
        NodeError: it exited, interrupted or cancelled itself.
        asyncio.CancelledError: the surrounding task was cancelled.
        Exception: what ``function`` raised.
    """

    @functools.wraps(function)
    async def run(*args: object, **kwargs: object) -> object:
        context = copy_context()
        reports = node_progress.get()
        attempt = None if reports is None else reports.begin_attempt()
        if attempt is not None:
            context.run(enter_attempt, attempt)
        call = _convert_exit_to_error(function(*args, **kwargs))
        handler = asyncio.create_task(call, context=context)
        try:
            await asyncio.wait([handler])
        except asyncio.CancelledError:
            if attempt is not None:
                attempt.end(cut_off=True)
            await _stop(handler)
            raise
        if attempt is not None:
            attempt.end()
        if handler.cancelled():
            raise NodeError("the handler cancelled itself", retryable=False)
        return handler.result()

    return run


async def _convert_exit_to_error(call: Coroutine[Any, Any, object]) -> object:
    try:
        return await call
    except (Exception, asyncio.CancelledError):
        raise
    except SystemExit as error:
        raise NodeError(f"the handler exited with {error.code!r}", retryable=False) from error
    except BaseException as error:
        raise NodeError(f"the handler raised {error!r}", retryable=False) from error


async def _stop(handler: asyncio.Task[object]) -> None:
    """Cancels it and waits for its end, but not for ever."""
    handler.cancel()
    # Shielded: a timeout of anyio's cancels again and again while its scope is left.
    with anyio.CancelScope(shield=True):
        await asyncio.wait([handler], timeout=HANDLER_CANCEL_TIMEOUT_SECONDS)
    if handler.done():
        _take_result(handler)
        return
    log.warning("handler_cancel_timeout", seconds=HANDLER_CANCEL_TIMEOUT_SECONDS)
    _left_behind.add(handler)
    handler.add_done_callback(_left_behind.discard)
    handler.add_done_callback(_take_result)


def _take_result(handler: asyncio.Task[object]) -> None:
    """Nobody wants it; untaken, asyncio would complain of an error."""
    if not handler.cancelled():
        handler.exception()
