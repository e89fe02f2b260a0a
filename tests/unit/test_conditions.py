"""The operators of a condition (contract, section 6)."""

from typing import Any

import pytest

from engine import conditions
from engine.conditions import Comparison, Operator
from engine.errors import NodeError
from engine.json_values import lookup

NEGATIONS = {"equals": "notEquals", "contains": "notContains", "isEmpty": "isNotEmpty"}


def holds(comparison: Comparison, record: Any) -> bool:
    return conditions.holds(comparison, lookup(record, comparison.field))


def holds_for(value: Any, operator: str, against: Any = None) -> bool:
    return holds(Comparison("field", Operator.parse(operator), against), {"field": value})


@pytest.mark.parametrize(
    ("value", "against", "equal"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("a", "b", False),
        (25, 25, True),
        (25, "25", True),
        ("25", 25.0, True),
        (" 25 ", "25", True),
        ("1e2", 100, True),
        ("25", "025", False),
        (25, "x", False),
        (True, "true", True),
        (True, True, True),
        (True, 1, False),
        (False, "false", True),
        (None, "", True),
        (None, None, True),
        ("", None, True),
        (None, 0, False),
        (["a"], '["a"]', True),
        (["a"], ["a"], True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
    ],
)
def test_equals_compares_numbers_as_numbers_and_other_values_as_strings(
    value: Any, against: Any, equal: bool
) -> None:
    assert holds_for(value, "equals", against) == equal


@pytest.mark.parametrize(
    ("operator", "below", "same", "above"),
    [
        ("greaterThan", False, False, True),
        ("lessThan", True, False, False),
        ("greaterOrEqual", False, True, True),
        ("lessOrEqual", True, True, False),
    ],
)
def test_ordering(operator: str, below: bool, same: bool, above: bool) -> None:
    for against in (10, "10", 10.0, " 1e1 "):
        assert holds_for(9, operator, against) == below
        assert holds_for("9.99", operator, against) == below
        assert holds_for(10, operator, against) == same
        assert holds_for("10", operator, against) == same
        assert holds_for(100, operator, against) == above
        assert holds_for("100", operator, against) == above


@pytest.mark.parametrize("operator", ["greaterThan", "lessThan", "greaterOrEqual", "lessOrEqual"])
@pytest.mark.parametrize(
    ("record", "against", "reason"),
    [
        ({"age": "old"}, 10, "field 'age' is 'old', which is not a number"),
        ({"age": None}, 10, "field 'age' is null, which is not a number"),
        ({"age": True}, 10, "field 'age' is true, which is not a number"),
        ({"age": [1]}, 10, "field 'age' is [1], which is not a number"),
        ({"age": 5}, "ten", "field 'age' is compared with 'ten', which is not a number"),
        ({"age": 5}, None, "field 'age' is compared with null, which is not a number"),
        ({"name": "Ada"}, 10, "the input has no field 'age'"),
        ({"age": "x" * 99}, 10, f"field 'age' is '{'x' * 79}…, which is not a number"),
    ],
)
def test_ordering_values_that_are_not_numbers_is_an_error_that_names_field_and_value(
    operator: str, record: Any, against: Any, reason: str
) -> None:
    with pytest.raises(NodeError) as error:
        holds(Comparison("age", Operator(operator), against), record)

    assert str(error.value) == f"{operator}: {reason}"
    assert error.value.retryable is False


@pytest.mark.parametrize(
    ("operator", "value", "against", "answer"),
    [
        ("contains", "Ada Lovelace", "LOVE", True),
        ("contains", "STRASSE", "straße", True),
        ("contains", "Ada", "x", False),
        ("contains", "Ada", "", True),
        ("contains", 1234, 23, True),
        ("contains", ["Red", "Green"], "red", True),
        ("contains", ["Red"], "re", False),
        ("contains", [1, 2], "2", True),
        ("contains", [], "x", False),
        ("contains", None, "", False),
        ("contains", {"key": 1}, "KEY", True),
        ("startsWith", "Ada Lovelace", "ada", True),
        ("startsWith", "Ada", "da", False),
        ("startsWith", 1234, 12, True),
        ("startsWith", None, "a", False),
        ("endsWith", "report.PDF", ".pdf", True),
        ("endsWith", "report.pdf", ".doc", False),
        ("endsWith", 1234, "34", True),
        ("isEmpty", "", None, True),
        ("isEmpty", None, None, True),
        ("isEmpty", [], None, True),
        ("isEmpty", {}, None, True),
        ("isEmpty", " ", None, False),
        ("isEmpty", 0, None, False),
        ("isEmpty", False, None, False),
        ("isEmpty", [None], None, False),
        ("isText", "abc", None, True),
        ("isText", "", None, True),
        ("isText", "25", None, False),
        ("isText", 25, None, False),
        ("isText", None, None, False),
        ("isText", ["a"], None, False),
        ("isNumber", 25, None, True),
        ("isNumber", "25", None, True),
        ("isNumber", "-1.5e3", None, True),
        ("isNumber", "abc", None, False),
        ("isNumber", True, None, False),
        ("isNumber", None, None, False),
    ],
)
def test_an_operator_compares_a_field_with_a_value(
    operator: str, value: Any, against: Any, answer: bool
) -> None:
    assert holds_for(value, operator, against) == answer
    if operator in NEGATIONS:
        assert holds_for(value, NEGATIONS[operator], against) == (not answer)


@pytest.mark.parametrize(
    ("operator", "answer"),
    [
        ("equals", False),
        ("notEquals", True),
        ("contains", False),
        ("notContains", True),
        ("startsWith", False),
        ("endsWith", False),
        ("isEmpty", True),
        ("isNotEmpty", False),
        ("isText", False),
        ("isNumber", False),
    ],
)
def test_a_missing_field_is_empty_and_equal_to_nothing(operator: str, answer: bool) -> None:
    for record in ({}, None, [], "text"):
        assert holds(Comparison("gone", Operator(operator), ""), record) == answer


@pytest.mark.parametrize("field", ["a.b.0.c", "d.e"])
def test_a_dotted_field_is_a_nested_field(field: str) -> None:
    record = {"a": {"b": [{"c": 5}]}, "d.e": 5}

    assert holds(Comparison(field, Operator.EQUALS, 5), record)


@pytest.mark.parametrize("operator", Operator)
def test_every_operator_has_a_snake_case_spelling(operator: Operator) -> None:
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in operator)

    assert Operator.parse(operator) is operator
    assert Operator.parse(snake) is operator
    assert Operator.parse(f" {snake} ") is operator


def test_there_are_sixteen() -> None:
    assert [str(operator) for operator in Operator] == [
        *("equals", "notEquals", "greaterThan", "lessThan", "greaterOrEqual", "lessOrEqual"),
        *("contains", "notContains", "startsWith", "endsWith"),
        *("isEmpty", "isNotEmpty", "isText", "isNumber", "isBefore", "isAfter"),
    ]


@pytest.mark.parametrize("spelling", ["", "equal", "==", "GREATER_THAN", "_equals", "is__empty_x"])
def test_an_unknown_operator_is_rejected_with_the_accepted_ones(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"known are: equals, notEquals, .*isNumber") as error:
        Operator.parse(spelling)

    assert f"unknown operator '{spelling}'" in str(error.value)
