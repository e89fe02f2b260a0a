"""JSON encoding: encodes submitted values for the database, large ones outside the event loop."""

import sys

from engine.json_encoding import encode_within, size_within
from engine.json_values import JsonValue, encode_json
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop


async def encode_off_loop(value: JsonValue) -> str:
    """Return ``value`` as a JSON string; encode a large value in pieces, in a thread."""
    if size_within(value, MAX_INLINE_BYTES) is not None:
        return encode_json(value)
    return (await run_off_loop(encode_within, value, sys.maxsize, check_stop, copies=False))[0]
