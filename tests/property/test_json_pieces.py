"""Large JSON texts: reading in pieces returns the same values as reading at once."""

import json
import re
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import json_pieces
from engine.json_pieces import load_json_in_pieces
from engine.json_values import load_json
from offload import WorkStoppedError
from tests.support.generated import examples

MANY = examples(300)
TEXTS = st.text(st.sampled_from('ab,:"\\[]{}é\n '), max_size=6)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=8),
    max_leaves=60,
)


def read(text: str, window: int) -> Any:
    with patch.object(json_pieces, "WINDOW_CHARACTERS", window):
        return load_json_in_pieces(text, lambda: None)


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


@MANY
@given(VALUES, st.integers(2, 40), st.sampled_from([None, 1]), st.booleans())
def test_the_value_is_the_same(value: Any, window: int, indent: int | None, ascii_only: bool):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert same(read(text, window), json.loads(text))


@MANY
@given(VALUES, st.integers(2, 40), st.data())
def test_invalid_json_is_rejected_with_the_same_error(value: Any, window: int, data: st.DataObject):
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    insert = data.draw(
        st.sampled_from(['"', ",", "]", "}", "[", "{", ":", "1", "-", "NaN", "\0", ""])
    )
    broken = text[:at] + insert + text[at + data.draw(st.integers(0, 2)) :]
    try:
        expected = load_json(broken)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            read(broken, window)
    else:
        assert same(read(broken, window), expected)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": 2, "a": 3, "c": 4, "a": 5}',
        "[1 2]",
        "[1, 1e999, 2, 3, 4, 5]",
        '["\\ud800", 1, 2, 3, 4, 5]',
        "\ufeff[1, 2, 3, 4, 5]",
        "[" * 300 + "]" * 300,
        "[" * 100_000,
        '{"a":' * 300 + "1" + "}" * 300,
        "12345678901234567890",
        " ",
        "",
        '"' + "x" * 100,
    ],
)
@pytest.mark.parametrize("window", [4, 7, 30])
def test_unusual_texts_are_read_or_rejected_with_the_same_error(text: str, window: int):
    try:
        expected = load_json(text)
    except ValueError as refused:
        reason = re.escape(str(refused).partition(":")[0])
        with pytest.raises(ValueError, match=f"^{reason}"):
            read(text, window)
    else:
        assert same(read(text, window), expected)


@pytest.mark.parametrize("text", ["[1, 2, 3,]", '{"a": 1,}'])
@pytest.mark.parametrize("window", [4, 7, 30])
def test_a_trailing_comma_is_rejected(text: str, window: int):
    """The standard library names it since Python 3.13, but not for a value in pieces."""
    with pytest.raises(ValueError, match=r"^(Expecting|Illegal trailing comma)"):
        read(text, window)


def test_ten_megabytes_are_read_in_many_pieces():
    records = [
        {"id": i, "name": f"Name {i}", "tags": ["a", "b"], "n": {"x": i}} for i in range(150_000)
    ]
    text = json.dumps({"meta": {"count": len(records)}, "data": {"items": records}})
    assert len(text) > 8_000_000
    calls: list[int] = []
    assert load_json_in_pieces(text, lambda: calls.append(1))["data"]["items"] == records
    assert len(calls) > 100


def test_reading_ends_between_two_pieces_when_it_is_stopped():
    def stop() -> None:
        raise WorkStoppedError

    with pytest.raises(WorkStoppedError):
        load_json_in_pieces("[" + "1," * 1_000_000 + "1]", stop)
