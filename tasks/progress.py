"""What a handler may tell from the inside while it runs: how far it is, and pieces of its output.

Both functions may be called from coroutines, from a synchronous handler's thread, and from
``asyncio.to_thread``; a thread that a handler starts otherwise is not known to be part of the node.
They return at once and raise for wrong arguments alone. Outside of an execution, where a node is
tried out alone or in a test, they do nothing.
"""

import math
from contextvars import ContextVar
from numbers import Real
from typing import Protocol

MAX_MESSAGE_CHARS = 500
COMPLETE = 100


class ProgressSink(Protocol):
    """Takes what one attempt of a node reports, from any thread; deaf once the attempt is over."""

    def progress(self, percentage: int | None, message: str | None) -> None:
        """How far it is; ``None`` leaves that half as it was, ``""`` takes the message back."""
        ...

    def delta(self, text: str, index: int | None, question: int) -> None:
        """A piece of output; see ``send_delta``."""
        ...


_attempt: ContextVar[ProgressSink | None] = ContextVar("attempt_reports", default=None)


def enter_attempt(reports: ProgressSink) -> None:
    """Has ``reports`` take what is reported in this context."""
    _attempt.set(reports)


def report_progress(percentage: float | None = None, message: str | None = None) -> None:
    """Says how far the node is, for whoever watches the execution.

    What is not given stays as it was reported before; an empty message takes the last one back.
    Call it as often as you like: the last report counts, and about one a second is written.

    Args:
        percentage: 0 to 100, of this node alone; shown as a whole number, rounded down.
        message: a few words, cut at 500 characters.

    Raises:
        TypeError: the percentage is no number, or the message no text.
        ValueError: the percentage is not from 0 to 100.
    """
    whole = None if percentage is None else _whole(percentage)
    words = None if message is None else _words(message)
    attempt = _attempt.get()
    if attempt is not None and (whole is not None or words is not None):
        attempt.progress(whole, words)


def send_delta(text: str, *, index: int | None = None, question: int = 1) -> None:
    """Sends a piece of the node's output to those who watch; it is stored nowhere.

    Args:
        text: what has been added since the last call.
        index: of which of several outputs it is a piece, such as the place of a record in a list.
        question: counts how often this output was begun; where it grows, what was sent before is
            to be forgotten.

    Raises:
        TypeError: the piece is no text.
    """
    _check_text("the text", text)
    attempt = _attempt.get()
    if attempt is not None and text:
        attempt.delta(_visible(text), index, question)


def _whole(percentage: object) -> int:
    # A bool is a number to Python, and always a mistake here.
    if isinstance(percentage, bool) or not isinstance(percentage, Real):
        kind = type(percentage).__name__
        raise TypeError(f"the percentage should be a number from 0 to 100, not of type {kind}")
    number = float(percentage)
    if not 0 <= number <= COMPLETE:  # not so for NaN either
        raise ValueError(f"the percentage should be a number from 0 to 100, not {percentage}")
    return math.floor(number)


def _words(message: object) -> str:
    text = _check_text("the message", message)
    return _visible(text[:MAX_MESSAGE_CHARS]).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _check_text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} should be a text, not of type {type(text).__name__}")
    return text


def _visible(text: str) -> str:
    """``text`` with what neither a database nor a stream can carry made visible."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
