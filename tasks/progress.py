"""Node progress: functions with which a running handler reports its progress and partial output.

They may be called in coroutines, in the thread of a synchronous handler and in
``asyncio.to_thread``, but not in other threads that a handler starts. They return immediately and
raise only for invalid arguments. Outside an execution they do nothing.
"""

import math
from dataclasses import replace
from numbers import Real

from engine.errors import replace_nul
from tasks.context import ProgressSink, current_node_run, enter_node_run

MAX_MESSAGE_CHARS = 500
COMPLETE = 100


def enter_attempt(sink: ProgressSink | None) -> None:
    """Send the reports of this context to ``sink``."""
    enter_node_run(replace(current_node_run(), progress=sink))


def report_progress(percentage: float | None = None, message: str | None = None) -> None:
    """Report the progress of the node to the clients that follow the execution.

    Omitted values keep the previous report; an empty message removes the last one. The function may
    be called at any rate: the last report counts, and about one report per second is stored.

    Args:
        percentage: Progress of this node from 0 to 100; it is rounded down.
        message: A short message; it is truncated to 500 characters.

    Raises:
        TypeError: If the percentage is not a number, or the message is not a string.
        ValueError: If the percentage is not from 0 to 100.
    """
    whole = None if percentage is None else _whole(percentage)
    shown = None if message is None else _message_text(message)
    sink = current_node_run().progress
    if sink is not None and (whole is not None or shown is not None):
        sink.progress(whole, shown)


def send_delta(text: str, *, index: int | None = None, question: int = 1) -> None:
    """Send a part of the node's output to the clients that follow the execution; it is not stored.

    Args:
        text: The part that was added since the last call.
        index: Number of the output, if the node has several, such as the index of a record.
        question: Number of the attempt at this output; a higher number replaces earlier parts.

    Raises:
        TypeError: If the part is not a string.
    """
    _check_text("the text", text)
    sink = current_node_run().progress
    if sink is not None and text:
        sink.delta(_encodable(text), index, question)


def _whole(percentage: object) -> int:
    # bool is a subclass of int, and always a mistake here.
    if isinstance(percentage, bool) or not isinstance(percentage, Real):
        kind = type(percentage).__name__
        raise TypeError(f"the percentage should be a number from 0 to 100, not of type {kind}")
    number = float(percentage)
    if not 0 <= number <= COMPLETE:  # also rejects NaN
        raise ValueError(f"the percentage should be a number from 0 to 100, not {percentage}")
    return math.floor(number)


def _message_text(message: object) -> str:
    text = _check_text("the message", message)
    return replace_nul(_encodable(text[:MAX_MESSAGE_CHARS]))


def _check_text(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name} should be a string, not of type {type(text).__name__}")
    return text


def _encodable(text: str) -> str:
    """Return ``text`` with lone surrogates escaped, because databases and streams reject them."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
