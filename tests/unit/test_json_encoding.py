"""Large JSON in pieces: the same text and the same values as the standard library."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.json_encoding import (
    PIECE_CHARACTERS,
    TooLargeError,
    encode_within,
    read_stored,
    size_within,
)
from engine.json_values import MAX_DEPTH, encode_json
from offload import WorkStoppedError
from tests.support.generated import examples

ENOUGH = 10**9
MANY = 40_000
"""Number of values, of which the shortest fill more than one piece."""
DOUBLED: Any = ["x"]
for _ in range(60):
    DOUBLED = [DOUBLED, DOUBLED]  # shared, so that it takes no memory: 2**60 texts

LARGE: dict[str, Callable[[], Any]] = {
    "numbers": lambda: list(range(MANY)),
    "floats": lambda: [i / 7 for i in range(MANY)],
    "empty lists": lambda: [[] for _ in range(MANY)],
    "records": lambda: [
        {"id": i, "name": f"é {i}", "none": None, "t": (1, 2)} for i in range(MANY // 10)
    ],
    "keys": lambda: {f"key {i}": i for i in range(MANY)},
    "keys of other types": lambda: {"a": {i: {None: i, True: "x" * 90} for i in range(MANY // 50)}},
    "a text": lambda: {"a": ["é" * PIECE_CHARACTERS * 2]},
    "large among small": lambda: [1, {"a": list(range(MANY))}, "b", ["c" * MANY], {}],
    "nested": lambda: {"a": {"b": {"c": [[list(range(MANY))], {"d": ["x"] * MANY}]}}},
    "big numbers": lambda: [10**30] * (MANY // 10),
}
"""Functions that create large values, because every test process imports this module."""


@pytest.mark.parametrize("name", LARGE)
def test_a_large_value_is_encoded_and_copied_like_a_small_one(name: str):
    value = LARGE[name]()
    text, copy = encode_within(value, ENOUGH)

    assert text == encode_json(value)
    assert copy == json.loads(text) == read_stored(text)
    assert encode_within(value, len(text.encode()))[0] == text
    with pytest.raises(TooLargeError):
        encode_within(value, len(text.encode()) - 1)
    assert encode_within(value, ENOUGH, copies=False) == (text, None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
)


@given(JSON)
@examples(200)
def test_any_value_is_encoded_as_the_standard_library_does(value: Any):
    text, copy = encode_within(value, ENOUGH)
    assert text == encode_json(value)
    assert copy == value
    size = size_within(value, ENOUGH)
    assert size is not None
    assert size <= len(text) + 8


def test_a_value_that_is_shared_many_times_is_measured_without_being_spread_out():
    assert size_within(DOUBLED, PIECE_CHARACTERS) is None
    with pytest.raises(TooLargeError):
        encode_within(DOUBLED, 4 * PIECE_CHARACTERS)


def test_a_circle_ends(monkeypatch: pytest.MonkeyPatch):
    # Each of the 200 levels is measured up to this size.
    monkeypatch.setattr("engine.json_encoding.PIECE_CHARACTERS", 1_000)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested deeper"):
        encode_within(circle, ENOUGH)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_the_depth_counts_from_the_outside_also_inside_of_a_large_value(depth: int):
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    large = [value, "x" * PIECE_CHARACTERS]
    if depth == MAX_DEPTH:
        assert encode_within(large, ENOUGH)[1] == large
    else:
        with pytest.raises(ValueError, match="nested deeper"):
            encode_within(large, ENOUGH)


@pytest.mark.parametrize("flaw", [math.nan, math.inf, "\ud800", object(), {1, 2}, b"x"])
def test_a_value_that_json_cannot_represent_is_found_inside_a_large_value(flaw: object):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the caller's
        encode_within({"a": ["x"] * MANY, "b": [flaw]}, ENOUGH)


def test_the_work_stops_between_two_pieces():
    calls: list[None] = []

    def tick() -> None:
        calls.append(None)
        if len(calls) > 3:
            raise WorkStoppedError("stopped")

    with pytest.raises(WorkStoppedError):
        encode_within(LARGE["records"](), ENOUGH, tick)
    assert len(calls) == 4


def test_a_text_of_very_many_values_is_read_like_any_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.json_encoding.MAX_PARTS_PER_CALL", 10)
    for create in LARGE.values():
        text = encode_json(create())
        assert read_stored(text) == json.loads(text)
