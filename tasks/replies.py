"""What a model's reply must be: how the model is told, and how its reply is read."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from engine.values import JsonValue, as_number, load_json
from tasks.configs import OutputType

_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII
)
_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)


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


def _read_text(text: str) -> str:
    if not text.strip():
        raise ValueError("the reply is empty")
    return text


def _read_number(text: str) -> int | float:
    number = as_number(text.strip().removesuffix("."))
    if number is None:
        raise ValueError("no number")
    return number


def _read_date(text: str) -> str:
    found = text.strip()
    if not _DATE.fullmatch(found):
        raise ValueError("no ISO 8601 date")
    read = datetime if "T" in found else date
    read.fromisoformat(found)  # raises for a 31st of February
    return found


def _read_option(text: str, options: Sequence[str]) -> str:
    found = text.strip()
    # Models like to quote the option, or to end it as a sentence.
    for spelling in (found, found.strip("\"'`*. ")):
        for option in options:
            if option.casefold() == spelling.casefold():
                return option
    raise ValueError("none of the options")


def _read_json(text: str) -> JsonValue:
    fenced = _FENCED.fullmatch(text.strip())
    return load_json(fenced[1] if fenced else text.strip())
