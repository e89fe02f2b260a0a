"""Reply types: the instruction that asks a model for a type, and the reader of its reply."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

from engine.json_values import JsonValue, as_number, load_json
from tasks.llm.config import OutputType

_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII
)
_FENCED = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_MAX_FENCES = 20
_THINKING_TAGS = ("think", "thinking", "thought", "reasoning")
_QUOTES = "\"'`*"


@dataclass(frozen=True, slots=True)
class ReplyType:
    """A type of reply."""

    wanted: str
    """What is wanted, as the end of a sentence: ``one number``."""
    instruction: str | None
    """How the model is told; ``None`` when any text will do."""
    read: Callable[[str], JsonValue]
    """Reads a reply; raises ``ValueError`` when it is not of the type."""


def reply_type(output_type: OutputType, options: Sequence[str] = ()) -> ReplyType:
    """The type of reply that a config asks for; ``options`` are those of an ``enum``."""
    if output_type == OutputType.NUMBER:
        return ReplyType(
            "one number",
            "Reply with one number in digits and nothing else: no unit, no thousands separator, "
            "a point before decimals.",
            _read_number,
        )
    if output_type == OutputType.DATE:
        return ReplyType(
            "one ISO 8601 date",
            "Reply with one date and nothing else, in ISO 8601: YYYY-MM-DD, or "
            "YYYY-MM-DDThh:mm:ssZ when the time matters.",
            _read_date,
        )
    if output_type == OutputType.ENUM:
        listed = ", ".join(options)
        return ReplyType(
            f"one of: {listed}",
            f"Reply with exactly one of these and nothing else: {listed}",
            lambda text: _read_option(text, options),
        )
    if output_type == OutputType.JSON:
        return ReplyType(
            "one JSON value",
            "Reply with one JSON value and nothing else: no explanation, no code fence.",
            _read_json,
        )
    return ReplyType("a text", None, _read_text)


def without_thinking(text: str) -> str:
    """Return a reply without the thoughts that some models write before it.

    Such a reply begins with ``<think>…</think>``. A block that is not closed was cut off: there is
    no reply behind it. Chat templates that open the block themselves leave ``</think>`` alone.
    """
    rest = text.lstrip()
    for tag in _THINKING_TAGS:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if rest[: len(opening)].lower() == opening:
            end = rest.lower().find(closing)
            return "" if end < 0 else rest[end + len(closing) :].lstrip()
    return text


def _answer_of(text: str) -> str:
    """Return the part of a reply that is read as a value: without thoughts and one code fence."""
    text = without_thinking(text)
    for tag in _THINKING_TAGS:
        text = text.rpartition(f"</{tag}>")[2]
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    return fenced[1].strip() if fenced and "```" not in fenced[1] else text


def _read_text(text: str) -> str:
    answer = without_thinking(text)
    if not answer.strip():
        raise ValueError("the reply is empty")
    return answer


def _read_number(text: str) -> int | float:
    number = as_number(_answer_of(text).strip(_QUOTES).removesuffix(".").strip(_QUOTES))
    if number is None:
        raise ValueError("the reply is not a number")
    return number


def _read_date(text: str) -> str:
    found = _answer_of(text).strip(_QUOTES)
    if not _DATE.fullmatch(found):
        raise ValueError("the reply is not an ISO 8601 date")
    read = datetime if "T" in found else date
    read.fromisoformat(found)  # raises for a 31st of February
    return found


def _read_option(text: str, options: Sequence[str]) -> str:
    found = _answer_of(text)
    # Models like to quote the option, or to end it as a sentence.
    for spelling in (found, found.strip(f"{_QUOTES}. ")):
        for option in options:
            if option.casefold() == spelling.casefold():
                return option
    raise ValueError("the reply is not one of the options")


def _read_json(text: str) -> JsonValue:
    """Return the JSON value of a reply: all of it, or what a fence among other words holds."""
    answer = _answer_of(text)
    candidates = [answer]
    candidates += [found[1].strip() for found in islice(_FENCED.finditer(answer), _MAX_FENCES)]
    for candidate in candidates:
        try:
            return load_json(candidate)
        except ValueError:
            continue
    raise ValueError("the reply is not one JSON value")
