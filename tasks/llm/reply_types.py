"""Reply types: instructs a model to reply with a type, and parses its reply."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

from engine.json_values import JsonValue, as_number, load_json
from tasks.llm.node import OutputType

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

    description: str
    """The type as the end of a sentence: ``one number``."""
    instruction: str | None
    """The instruction to the model; ``None`` if any text is valid."""
    read: Callable[[str], JsonValue]
    """Parses a reply; raises ``ValueError`` if it is not of the type."""


def reply_type(output_type: OutputType, options: Sequence[str] = ()) -> ReplyType:
    """Return the type of reply of a config; ``options`` are those of an ``enum``."""
    if output_type != "enum":
        return _REPLY_TYPES[output_type]
    listed = ", ".join(options)
    return ReplyType(
        f"one of: {listed}",
        f"Reply with exactly one of these and nothing else: {listed}",
        lambda text: _read_option(text, options),
    )


def without_thinking(text: str) -> str:
    """Return a reply without the reasoning that some models write before it.

    Such a reply starts with ``<think>…</think>``. A reply with an unclosed block is empty, because
    it was truncated. Some chat templates open the block, so that only ``</think>`` remains.
    """
    rest = text.lstrip()
    for tag in _THINKING_TAGS:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if rest[: len(opening)].lower() == opening:
            end = rest.lower().find(closing)
            return "" if end < 0 else rest[end + len(closing) :].lstrip()
    return text


def _value_text(text: str) -> str:
    """Return the part of a reply that is parsed: without reasoning and one code fence."""
    text = without_thinking(text)
    for tag in _THINKING_TAGS:
        text = text.rpartition(f"</{tag}>")[2]
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    return fenced[1].strip() if fenced and "```" not in fenced[1] else text


def _read_text(text: str) -> str:
    reply = without_thinking(text)
    if not reply.strip():
        raise ValueError("the reply is empty")
    return reply


def _read_number(text: str) -> int | float:
    number = as_number(_value_text(text).strip(_QUOTES).removesuffix(".").strip(_QUOTES))
    if number is None:
        raise ValueError("the reply is not a number")
    return number


def _read_date(text: str) -> str:
    value = _value_text(text).strip(_QUOTES)
    if not _DATE.fullmatch(value):
        raise ValueError("the reply is not an ISO 8601 date")
    date_type = datetime if "T" in value else date
    date_type.fromisoformat(value)  # raises for a 31st of February
    return value


def _read_option(text: str, options: Sequence[str]) -> str:
    value = _value_text(text)
    # Models often quote the option, or end it with a full stop.
    for candidate in (value, value.strip(f"{_QUOTES}. ")):
        for option in options:
            if option.casefold() == candidate.casefold():
                return option
    raise ValueError("the reply is not one of the options")


def _read_json(text: str) -> JsonValue:
    """Return the JSON value of a reply, or of a code fence within other text."""
    value = _value_text(text)
    candidates = [value]
    candidates += [fence[1].strip() for fence in islice(_FENCED.finditer(value), _MAX_FENCES)]
    for candidate in candidates:
        try:
            return load_json(candidate)
        except ValueError:
            continue
    raise ValueError("the reply is not one JSON value")


_REPLY_TYPES: dict[str, ReplyType] = {
    "text": ReplyType("text", None, _read_text),
    "number": ReplyType(
        "one number",
        "Reply with one number in digits and nothing else: no unit, no thousands separator, "
        "a point before decimals.",
        _read_number,
    ),
    "date": ReplyType(
        "one ISO 8601 date",
        "Reply with one date and nothing else, in ISO 8601: YYYY-MM-DD, or "
        "YYYY-MM-DDThh:mm:ssZ when the time matters.",
        _read_date,
    ),
    "json": ReplyType(
        "one JSON value",
        "Reply with one JSON value and nothing else: no explanation, no code fence.",
        _read_json,
    ),
}
