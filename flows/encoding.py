"""JSON encoding: encodes values for the database, large ones outside the event loop."""

import sys

from engine.json_encoding import size_within
from engine.json_values import JsonValue
from offload import MAX_INLINE_BYTES, run_off_loop
from tasks.compute import to_json


async def encode_off_loop(value: JsonValue, max_bytes: int = sys.maxsize) -> str:
    """Return ``value`` as JSON text; encode a large value in pieces, in a thread.

    Raises:
        TooLargeError: If the text would be larger than ``max_bytes``.
        ValueError: If JSON cannot represent the value.
    """
    if size_within(value, MAX_INLINE_BYTES) is None:
        return await run_off_loop(to_json, value, max_bytes)
    return to_json(value, max_bytes)
