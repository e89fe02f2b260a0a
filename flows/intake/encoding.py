"""JSON encoding beside the event loops: values from outside as text for the database."""

import sys

from engine.json_encoding import encode_within, size_within
from engine.json_values import JsonValue, encode_json
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop


async def encode_off_loop(value: JsonValue) -> str:
    """Return ``value`` as JSON text: encoded here if it is small, else in pieces in a thread."""
    if size_within(value, MAX_INLINE_BYTES) is not None:
        return encode_json(value)
    return (await run_off_loop(encode_within, value, sys.maxsize, check_stop, copies=False))[0]
