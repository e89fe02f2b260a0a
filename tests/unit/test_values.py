"""JSON values: paths, numbers, and values that JSON cannot represent."""

import decimal
import math
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest

from engine.json_values import (
    MAX_DEPTH,
    MISSING,
    as_number,
    as_text,
    dump_json,
    json_error,
    kind_of,
    load_json,
    lookup,
)

RECORD = {
    "a": {"b": [{"c": "deep"}, 5], "": "nameless"},
    "n": None,
    "x.y": "dotted",
    "p": {"q.r": "dotted inside"},
    "0": "zero",
    "list": [[1, 2], [3]],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", RECORD["a"]),
        ("a.b.0.c", "deep"),
        ("a.b.1", 5),
        ("a.", "nameless"),
        ("n", None),
        ("x.y", "dotted"),
        ("p.q.r", "dotted inside"),
        ("0", "zero"),
        ("list.0.1", 2),
        ("list.1.0", 3),
    ],
)
def test_a_dotted_path_reaches_inside(path: str, value: Any) -> None:
    assert lookup(RECORD, path) == value


@pytest.mark.parametrize(
    "path",
    ["", "b", "A", "a.x", "a.b.2", "a.b.-1", "a.b.x", "a.b.0.c.d", "n.x", "a.b.1.", "list.²", ".a"],
)
def test_a_missing_field_is_not_null(path: str) -> None:
    assert lookup(RECORD, path) is MISSING
    assert repr(MISSING) == "MISSING"


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "text", [], {}])
def test_values_without_fields_contain_nothing(value: Any) -> None:
    assert lookup(value, "a") is MISSING
    assert lookup(value, "0") is MISSING


def test_a_path_into_a_list_is_a_position() -> None:
    assert lookup([{"name": "Ada"}], "0.name") == "Ada"
    assert lookup(["a"], "0") == "a"
    assert lookup(["a"], "9" * 30) is MISSING


def test_a_very_deep_path_does_not_exhaust_the_stack() -> None:
    value: Any = "bottom"
    for _ in range(5_000):
        value = {"a": value}

    assert lookup(value, ".".join("a" * 5_000)) == "bottom"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (25, 25),
        (-1.5, -1.5),
        ("25", 25),
        ("-25", -25),
        (" 25 ", 25),
        ("-1.5e3", -1500.0),
        ("1E2", 100.0),
        ("0.0", 0.0),
        ("-0", 0),
        (10**30, 10**30),
        (str(10**30), 10**30),
    ],
)
def test_numbers_and_numeric_strings_are_numbers(value: Any, number: float) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "x", "007", "+5", "1_000", "1,5", "1.", ".5", "0x10", "nan", "Infinity", "٣"),
        *("1e999", "9" * 301, "2020-01-01", "1 2", "--1"),
        *(True, False, None, [], {}, [5], math.nan, math.inf, MISSING),
    ],
)
def test_other_values_are_not_numbers(value: Any) -> None:
    assert as_number(value) is None


def test_whole_numbers_stay_whole() -> None:
    assert isinstance(as_number("25"), int)
    assert isinstance(as_number("25.0"), float)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ([1, "ü"], '[1,"ü"]'),
        ({"a": {"b": 1}}, '{"a":{"b":1}}'),
    ],
)
def test_a_value_in_a_string(value: Any, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "boolean"),
        (5, "number"),
        (1.5, "number"),
        ("", "string"),
        ({}, "object"),
        ([], "list"),
        ((), "list"),
        (set(), "set"),
    ],
)
def test_types_are_called_by_their_json_names(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


def nested(levels: int, inside: Any = None) -> Any:
    value = inside
    for i in range(levels):
        value = [value] if i % 2 else {"k": value}
    return value


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "nan is not a JSON number"),
        ({"a": [1, math.inf]}, "inf is not a JSON number at a.1"),
        ({"a": {1, 2}}, "a value of type set at a"),
        (b"bytes", "a value of type bytes"),
        ([decimal.Decimal(1)], "a value of type Decimal at 0"),
        ({"a": {(1, 2): 3}}, "an object key of type tuple at a"),
        ({"a": "\ud800"}, "a string that is not valid Unicode at a"),
        ({"\udfff": 1}, "an object key that JSON cannot represent"),
        ({math.nan: 1}, "an object key that JSON cannot represent"),
        pytest.param(10**5000, "a number of more than 4300 digits", id="a huge number"),
        ([-(10**5000)], "a number of more than 4300 digits at 0"),
        (nested(MAX_DEPTH + 1), "nested deeper than 200 levels"),
        (nested(MAX_DEPTH, inside=[]), "nested deeper than 200 levels"),
        (nested(5_000), "nested deeper than 200 levels"),
        (CIRCLE, "nested deeper than 200 levels"),
    ],
)
def test_a_value_that_json_cannot_represent_is_rejected_with_reason_and_path(
    value: Any, reason: str
) -> None:
    assert json_error(value) == reason
    with pytest.raises(ValueError, match="^" + reason + "$"):
        dump_json(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("ü\u2028", '"ü\u2028"'),
        ({"a": [1, 2.5, True]}, '{"a":[1,2.5,true]}'),
        ((1, 2), "[1,2]"),
        (OrderedDict(a=1), '{"a":1}'),
        pytest.param("[" * 500, '"' + "[" * 500 + '"', id="brackets in a text"),
    ],
)
def test_json_is_written_compactly(value: Any, text: str) -> None:
    assert json_error(value) is None
    assert dump_json(value) == text


def test_values_may_be_nested_to_the_limit_and_no_deeper() -> None:
    text = dump_json(nested(MAX_DEPTH, inside=5))

    assert load_json(text) == nested(MAX_DEPTH, inside=5)
    with pytest.raises(ValueError, match="nested deeper than 200 levels"):
        load_json(f"[{text}]")


def test_a_value_that_only_looks_like_an_object_is_rejected_by_type() -> None:
    with pytest.raises(ValueError, match="mappingproxy"):
        dump_json(MappingProxyType({}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (' {"a": [1, 2.5, "\\u00fc"]} ', {"a": [1, 2.5, "ü"]}),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d"', "\N{REPLACEMENT CHARACTER}"),
        ('{"\\uDC00": "\ud800"}', {"\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}"}),
        ('"\\\\ud83d"', "\\ud83d"),
        ("1e5", 100000.0),
        pytest.param('"' + "{" * 500 + '"', "{" * 500, id="braces in a text"),
        (b'{"a": "\xc3\xbc"}', {"a": "ü"}),
        (b"\xef\xbb\xbf[]", []),
    ],
)
def test_json_is_read(text: str | bytes, value: Any) -> None:
    assert load_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "[1,]", "{'a': 1}", "01", "undefined", "[] []", '"\t"'),
        *("NaN", "Infinity", '{"a": -Infinity}', "1e999", "[-1e999]"),
        pytest.param("9" * 5000, id="a number of very many digits"),
        pytest.param("[" * 201 + "]" * 201, id="too deep"),
        pytest.param("[" * 100_000, id="far too deep"),
        *(b"\xff", b'"\xed\xa0\x80"', b""),
    ],
)
def test_invalid_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_json(text)
