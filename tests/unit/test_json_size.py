"""The number of values in a JSON text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.json_pieces import has_more_values
from offload import WorkStoppedError
from tests.support.generated import examples

TEXTS = st.text(st.sampled_from('a,[{"\\]}'), max_size=5)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def number_of(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(number_of(item) for item in inside)


@examples(300)
@given(VALUES, st.booleans())
def test_every_value_counts_once_and_strings_do_not_matter(value: Any, indented: bool):
    text = json.dumps(value, indent=1 if indented else None)
    number = number_of(value)
    assert not has_more_values(text, number, lambda: None)
    assert number == 1 or has_more_values(text, number - 1, lambda: None)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 65_534, 65_535, 65_536])
def test_a_string_may_end_in_another_piece(before: int):
    text = " " * before + '["' + "a" * 70_000 + ",[{" + '", 1]'
    assert has_more_values(text, 2, lambda: None)
    assert not has_more_values(text, 3, lambda: None)


def test_counting_can_be_stopped():
    def stop() -> None:
        raise WorkStoppedError

    with pytest.raises(WorkStoppedError):
        has_more_values("[1,2,3]", 1, stop)
