"""Values of the shared tables that other programs have stored with other types."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from database.foreign_values import (
    integer_of,
    json_of,
    number_of,
    object_of,
    payload_of,
    raw_json_of,
    required_text_of,
    short_text_of,
    text_of,
)
from database.records import Payload


def _same(found: object, expected: object) -> bool:
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (None, None),
        (True, 1),
        (False, 0),
        (7, 7),
        (7.5, 7.5),
        (7.0, 7.0),
        (Decimal(7), 7),
        (Decimal("7.0"), 7),
        (Decimal("7.5"), 7.5),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        ("7", "7"),
        (b"7", "7"),
    ],
)
def test_a_number_keeps_its_value_and_other_values_are_strings(value: Any, number: Any):
    assert _same(number_of(value), number)


@pytest.mark.parametrize(
    ("value", "integer"),
    [(7, 7), (True, 1), (7.0, 7), (7.5, None), ("7", None), (None, None), (float("inf"), None)],
)
def test_only_a_whole_number_is_an_integer(value: Any, integer: int | None):
    assert _same(integer_of(value), integer)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("a", "a"),
        ("", ""),
        (b"\xffa", "\N{REPLACEMENT CHARACTER}a"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        ({"é": [1]}, '{"é": [1]}'),
        ([date(2026, 1, 2)], '["2026-01-02"]'),
        (1.5, "1.5"),
        (0, "0"),
    ],
)
def test_any_value_is_read_as_text(value: Any, text: str | None):
    assert text_of(value) == text
    assert required_text_of(value) == (text or "")


def test_a_text_in_a_list_has_at_most_8192_characters():
    assert short_text_of(None) is None
    assert short_text_of("x" * 8_192) == "x" * 8_192
    assert short_text_of("x" * 8_193) == "x" * 8_192 + "…"


@pytest.mark.parametrize(
    ("text", "size", "cut_at", "payload"),
    [
        (None, 3, 3, None),
        ("abc", 3, None, Payload("abc", 3)),
        ("abc", 3, 3, Payload("abc", 3)),
        ("abc", 4, 3, Payload("abc", 4, cut=True)),
        ("abcd", 4, 3, Payload("abc", 4, cut=True)),
        ("abc", "?", 3, Payload("abc", 3)),
        ("abc", 9, None, Payload("abc", 3)),
    ],
)
def test_a_payload_is_cut_if_it_is_longer_than_its_limit(
    text: str | None, size: Any, cut_at: int | None, payload: Payload | None
):
    assert payload_of(text, size, cut_at) == payload
    assert Payload("a", 1).cut is False


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        (None, {}),
        ("", {}),
        ("[1]", {}),
        ("{", {}),
        ({"a": 1}, {"a": 1}),
        (b'{"a": 1}', {"a": 1}),
    ],
)
def test_a_column_of_objects_is_empty_if_it_holds_anything_else(value: Any, found: Any):
    assert object_of(value) == found


@pytest.mark.parametrize(
    ("value", "found"), [(None, None), ("null", None), ("[1]", [1]), ("{", "{"), ("", ""), (7, 7)]
)
def test_a_json_column_that_is_not_json_is_its_text(value: Any, found: Any):
    assert json_of(value) == found


@pytest.mark.parametrize(
    ("text", "raw"),
    [('{"a": 1}', '{"a": 1}'), ("{", '"{"'), ("\ufeff[1]", '"\ufeff[1]"'), ("NaN", '"NaN"')],
)
def test_invalid_json_is_returned_as_a_string(text: str, raw: str):
    assert raw_json_of(text) == raw
