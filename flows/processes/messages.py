"""Messages between the service and its execution processes: frames in the pipes of each process.

A frame is the length of its body, in four bytes, and the body. The first frame that a process reads
contains its settings; every other body is a JSON object with a ``kind``.
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, BinaryIO, cast

from engine.json_values import JsonValue
from flows.encoding import encode_off_loop

_LENGTH = struct.Struct(">I")


class Kind(StrEnum):
    """The kind of a message."""

    # From the service to a process

    CLAIM = "claim"
    """There may be an execution to claim."""
    POLL = "poll"
    """There may be a cancellation, a resumption or an execution to claim."""
    STOP = "stop"
    """Release the executions within ``graceSeconds``, and end."""
    COLLECT = "collect"
    """Return the metrics."""
    RUN_NODE = "runNode"
    """Run the ``node`` with ``inputData``, without an execution."""

    # From a process to the service

    OWNER = "owner"
    """Executions are claimed from now on under the name ``owner``."""
    COMMITTED = "committed"
    """Events were committed."""
    PUBLISH = "publish"
    """Send ``message`` to the clients of ``executionId``."""
    ENDED = "ended"
    """An execution has ended or was released."""
    RELATIVES_CHANGED = "relativesChanged"
    """Parents or children of executions were changed, which may run in other processes."""
    METRICS = "metrics"
    """The ``families`` of the metrics."""
    NODE_ENDED = "nodeEnded"
    """The ``result`` or the ``error`` of the node of a ``RUN_NODE`` with the same ``id``."""


Message = Mapping[str, Any]


def message_frame(kind: Kind, **fields: object) -> bytes:
    """Return the frame of a message."""
    return frame(json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode())


async def large_message_frame(kind: Kind, **fields: JsonValue) -> bytes:
    """Return the frame of a message with data of a node; encode a large one off the event loop."""
    return frame((await encode_off_loop({"kind": kind.value, **fields})).encode())


def frame(body: bytes) -> bytes:
    """Return the frame of a body."""
    return _LENGTH.pack(len(body)) + body


def parse_message(body: bytes) -> Message:
    """Return the message of a frame."""
    return cast("Message", json.loads(body))


def read_frame(source: BinaryIO) -> bytes | None:
    """Return the body of the next frame; ``None`` at the end of the pipe."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = source.read(length)
    return body if len(body) == length else None


async def receive_frame(source: asyncio.StreamReader) -> bytes | None:
    """Return the body of the next frame; ``None`` at the end of the pipe."""
    try:
        (length,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
        return await source.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
