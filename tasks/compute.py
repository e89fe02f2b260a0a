"""Handler computation: runs the pure part of a handler on or off the event loop, by its size."""

import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from engine.json_encoding import encode_within, size_within
from engine.json_values import JsonValue
from offload import MAX_INLINE_BYTES, check_stop, run_counted

P = ParamSpec("P")
T = TypeVar("T")


async def compute(
    data: JsonValue, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``function(*args, **kwargs)``, without delaying other executions.

    The function runs off the loop if ``data`` is large, or as soon as its templates read more than
    the inline limit. It must not have effects, because it may be called a second time. In a thread
    it stops at the node's timeout and on cancellation. ``data`` is everything that it reads: the
    input of the node, its config. Exceptions of the function are raised.
    """
    size = size_within(data, MAX_INLINE_BYTES)
    size = MAX_INLINE_BYTES + 1 if size is None else size
    return await run_counted(size, function, *args, **kwargs)


def computed(
    function: Callable[[dict[str, Any], JsonValue], T],
) -> Callable[[dict[str, Any], JsonValue], Coroutine[Any, Any, T]]:
    """Return an async handler that runs the handler ``function`` with ``compute``."""

    @wraps(function)
    async def handler(node: dict[str, Any], input_data: JsonValue) -> T:
        return await compute((node, input_data), function, node, input_data)

    return handler


def success(message: str, output: JsonValue, **fields: JsonValue) -> dict[str, JsonValue]:
    """Return the result of a handler: ``outputData`` and further fields."""
    return {"success": True, "message": message, "outputData": output, **fields}


def to_json(value: JsonValue, max_bytes: int = sys.maxsize) -> str:
    """Return a value as JSON text, encoded in pieces, so that other threads can run.

    Raises a ``ValueError`` if JSON cannot represent the value, and a ``TooLargeError``.
    """
    return encode_within(value, max_bytes, check_stop, copies=False)[0]
