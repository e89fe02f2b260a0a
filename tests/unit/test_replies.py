"""Reply types: instructions to a model, and parsing of its replies."""

from typing import Any, get_args

import pytest

from tasks.llm.node import OutputType
from tasks.llm.reply_types import reply_type

OPTIONS = ["Positive", "Negative", "n/a"]


@pytest.mark.parametrize(
    ("output_type", "reply", "value"),
    [
        ("text", " as given\n", " as given\n"),
        ("number", "25", 25),
        ("number", " -1.5e3 \n", -1500.0),
        ("number", "42.", 42),
        ("date", "2024-02-29", "2024-02-29"),
        ("date", " 2024-01-01T10:00:00Z\n", "2024-01-01T10:00:00Z"),
        ("date", "2024-01-01T10:00", "2024-01-01T10:00"),
        ("date", "2024-01-01T10:00:00.123+02:00", "2024-01-01T10:00:00.123+02:00"),
        ("enum", "Positive", "Positive"),
        ("enum", " nEGATIVE\n", "Negative"),
        ("enum", '"positive".', "Positive"),
        ("enum", "N/A", "n/a"),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("json", " null ", None),
        ("json", '```json\n{"a": 1}\n```', {"a": 1}),
        ("json", "\n```\n[1, 2]\n```\n", [1, 2]),
        ("json", "```JSON\n5```", 5),
        ("json", 'Here it is:\n```json\n{"a": 1}\n```\nAnything else?', {"a": 1}),
        ("json", "```python\nprint()\n```\nand\n```json\n[1]\n```", [1]),
        ("json", '<think>{"b": 2}?</think>\n\n{"a": 1}', {"a": 1}),
        ("json", '<think>\n```json\n{"b": 2}\n```\n</think>\n```json\n{"a": 1}\n```', {"a": 1}),
        ("json", 'it must be small</think>\n{"a": 1}', {"a": 1}),
        ("number", "<think>6 times 7</think>\n\n42", 42),
        ("number", "**42**", 42),
        ("number", "```\n42\n```", 42),
        ("date", "<THINK>a leap year</THINK> 2024-02-29", "2024-02-29"),
        ("enum", "<thinking>Negative? No.</thinking>Positive", "Positive"),
        ("text", "<think>how?</think>\n\nHello", "Hello"),
        ("text", "HTML has no tag </think>", "HTML has no tag </think>"),
    ],
)
def test_a_reply_of_the_type_is_parsed(output_type: OutputType, reply: str, value: Any):
    read = reply_type(output_type, OPTIONS).read(reply)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("output_type", "reply"),
    [
        ("text", ""),
        ("text", " \n"),
        ("text", "<think>only thoughts</think>\n"),
        ("text", "<think>thoughts that were cut o"),
        ("json", '<think>{"a": 1} was cut o'),
        ("number", ""),
        ("number", "about 5"),
        ("number", "1,000"),
        ("number", "5 %"),
        ("number", "nan"),
        ("number", "true"),
        ("date", "yesterday"),
        ("date", "2024-02-30"),
        ("date", "2024-13-01"),
        ("date", "01/02/2024"),
        ("date", "20240101"),
        ("date", "2024-01-01T25:00:00"),
        ("enum", ""),
        ("enum", "Pos"),
        ("enum", "Positive or Negative"),
        ("json", ""),
        ("json", "Here it is: {}"),
        ("json", "[NaN]"),
        ("json", '```json\n{"a": 1\n```'),
    ],
)
def test_a_reply_of_another_type_is_rejected(output_type: OutputType, reply: str):
    with pytest.raises(ValueError):  # noqa: PT011 - no user reads the message
        reply_type(output_type, OPTIONS).read(reply)


def test_every_type_except_text_has_an_instruction():
    kinds: tuple[OutputType, ...] = get_args(OutputType)
    instructions = {kind: reply_type(kind, OPTIONS).instruction for kind in kinds}
    assert {kind for kind, text in instructions.items() if text is None} == {"text"}
    assert "Positive, Negative, n/a" in (instructions["enum"] or "")
