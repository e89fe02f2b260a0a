"""condition node: operators in both spellings, combinations, batch and perRow."""

import re
from typing import Any

import pytest

from engine.conditions import Operator
from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS


async def run(config: dict[str, Any], data: Any) -> Any:
    return await NODE_HANDLERS["condition"].fn({"id": "c", "config": config}, data)


async def passes(field: str, operator: str, value: Any, data: Any) -> bool:
    config = {"conditionField": field, "conditionOperator": operator, "conditionValue": value}
    return (await run(config, data))["conditionResult"]


def snake(spelling: str) -> str:
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), spelling)


HOLDS: list[tuple[str, Any, Any]] = [
    ("equals", 25, "25"),
    ("equals", "Ann", "Ann"),
    ("notEquals", "Ann", "ann"),
    ("greaterThan", "10", 9),
    ("lessThan", 9, "10"),
    ("greaterOrEqual", 9, 9.0),
    ("lessOrEqual", 9, 9),
    ("contains", "Hello World", "WORLD"),
    ("notContains", "Hello", "bye"),
    ("startsWith", "Hello", "hE"),
    ("endsWith", "Hello", "LO"),
    ("isEmpty", "", None),
    ("isNotEmpty", "x", None),
    ("isText", "x", None),
    ("isNumber", "25", None),
    ("isBefore", "2026-03-01T00:30:00Z", "2026-03-01T00:30:00.500Z"),
    ("isAfter", "2026-03-01T00:30:00+02:00", "2026-02-28T22:00:00Z"),
]
FAILS: list[tuple[str, Any, Any]] = [
    ("equals", 25, "26"),
    ("notEquals", 25, "25"),
    ("greaterThan", 9, "10"),
    ("lessThan", 10, 9),
    ("greaterOrEqual", 8, 9),
    ("lessOrEqual", 10, 9),
    ("contains", "Hello", "bye"),
    ("notContains", "Hello", "ELL"),
    ("startsWith", "Hello", "lo"),
    ("endsWith", "Hello", "he"),
    ("isEmpty", "x", None),
    ("isNotEmpty", [], None),
    ("isText", 25, None),
    ("isNumber", "x", None),
    ("isBefore", "2026-03-01", "2026-03-01T00:00:00.000Z"),
    ("isAfter", "2026-03-01T00:30:00Z", "2026-03-01T00:30:00.500Z"),
]


def test_the_test_tables_cover_every_operator():
    assert {row[0] for row in HOLDS} == {row[0] for row in FAILS} == set(Operator)


@pytest.mark.parametrize("spell", [str, snake], ids=["camelCase", "snake_case"])
@pytest.mark.parametrize(
    ("operator", "found", "value", "expected"),
    [*((*row, True) for row in HOLDS), *((*row, False) for row in FAILS)],
)
async def test_an_operator_is_accepted_in_both_spellings(
    spell: Any, operator: str, found: Any, value: Any, expected: bool
):
    assert await passes("f", spell(operator), value, {"f": found}) is expected


async def test_the_default_operator_is_equals():
    config = {"conditionField": "f", "conditionOperator": "", "conditionValue": 1}
    assert (await run(config, {"f": 1}))["conditionResult"] is True
    assert (await run(config, {"f": 2}))["conditionResult"] is False


async def test_batch_passes_the_input_on_unchanged():
    result = await run({"conditionField": "f", "conditionValue": 1}, {"f": 1, "g": 2})
    assert result["outputData"] == {"f": 1, "g": 2}
    assert result["success"] is True
    assert "trueRecords" not in result
    assert "falseRecords" not in result


async def test_batch_on_a_list_tests_the_first_record_and_passes_the_whole_list_on():
    data = [{"f": 1}, {"f": 2}]
    result = await run({"conditionField": "f", "conditionValue": 1}, data)
    assert result["conditionResult"] is True
    assert result["outputData"] == data
    assert await passes("f", "equals", 2, data) is False


async def test_batch_on_an_empty_list_tests_an_empty_object():
    assert await passes("f", "isEmpty", None, []) is True
    assert await passes("f", "equals", 1, []) is False


async def test_a_dotted_field_is_a_nested_field():
    assert await passes("a.b.0.c", "equals", 7, {"a": {"b": [{"c": 7}]}}) is True


async def test_the_value_may_be_a_template_over_the_record():
    assert await passes("f", "equals", "{{ g }}", {"f": 5, "g": 5}) is True
    config = {"conditionField": "f", "conditionValue": "{{ g }}", "processingMode": "perRow"}
    result = await run(config, [{"f": 1, "g": 1}, {"f": 1, "g": 2}])
    assert result["trueRecords"] == [{"f": 1, "g": 1}]


async def test_a_missing_template_field_is_named_with_its_setting():
    with pytest.raises(NodeError, match=r"conditionValue: the input has no field 'nope'"):
        await passes("f", "equals", "{{ nope }}", {"f": 5})


async def test_an_operator_without_a_value_ignores_a_leftover_value():
    assert await passes("f", "isNotEmpty", "{{ nope }}", {"f": 5}) is True


@pytest.mark.parametrize(
    ("combination", "first", "second", "expected"),
    [
        ("AND", 1, 1, True),
        ("AND", 1, 0, False),
        ("AND", 0, 1, False),
        ("and", 1, 0, False),
        ("OR", 0, 1, True),
        ("OR", 1, 0, True),
        ("or", 0, 1, True),
        ("OR", 0, 0, False),
        (None, 1, 0, False),
        (" ", 1, 1, True),
    ],
)
async def test_additional_conditions_are_combined(
    combination: str | None, first: int, second: int, expected: bool
):
    config = {
        "conditionField": "a",
        "conditionValue": 1,
        "additionalConditions": [{"field": "b", "operator": "equals", "value": 1}],
        "logicalOperator": combination,
    }
    assert (await run(config, {"a": first, "b": second}))["conditionResult"] is expected


async def test_additional_conditions_accept_both_spellings_and_default_to_equals():
    config = {
        "conditionField": "a",
        "conditionValue": 1,
        "additionalConditions": [
            {"field": "b", "operator": "greater_than", "value": 1},
            {"field": "c", "value": "x"},
        ],
    }
    assert (await run(config, {"a": 1, "b": 2, "c": "x"}))["conditionResult"] is True
    assert (await run(config, {"a": 1, "b": 2, "c": "y"}))["conditionResult"] is False


async def test_an_unneeded_comparison_is_not_evaluated():
    config = {
        "conditionField": "a",
        "conditionOperator": "isEmpty",
        "additionalConditions": [{"field": "a", "operator": "greaterThan", "value": 1}],
        "logicalOperator": "OR",
    }
    assert (await run(config, {}))["conditionResult"] is True


async def test_an_ordering_error_names_field_and_value():
    with pytest.raises(NodeError, match="field 'age' is 'old', which is not a number") as raised:
        await passes("age", "greaterThan", 18, {"age": "old"})
    assert not raised.value.retryable


async def test_per_row_partitions_the_records_of_a_list():
    data = [{"n": 1}, {"n": 5}, {"n": 2}, {"n": 9}]
    config = {
        "conditionField": "n",
        "conditionOperator": "lessThan",
        "conditionValue": 3,
        "processingMode": "perRow",
    }
    result = await run(config, data)
    assert result["trueRecords"] == [{"n": 1}, {"n": 2}]
    assert result["falseRecords"] == [{"n": 5}, {"n": 9}]
    assert result["outputData"] == data
    assert "conditionResult" not in result
    assert result["message"] == "Condition is true for 2 of 4 records, false for 2"


async def test_per_row_on_an_empty_list_leaves_both_sides_empty():
    result = await run({"conditionField": "n", "processingMode": "perRow"}, [])
    assert result["trueRecords"] == result["falseRecords"] == result["outputData"] == []


async def test_per_row_on_an_object_behaves_as_batch():
    config = {"conditionField": "n", "conditionValue": 1, "processingMode": "perRow"}
    result = await run(config, {"n": 1})
    assert result["conditionResult"] is True
    assert "trueRecords" not in result


async def test_a_per_row_error_names_the_record():
    config = {
        "conditionField": "n",
        "conditionOperator": "lessThan",
        "conditionValue": 3,
        "processingMode": "perRow",
    }
    with pytest.raises(NodeError, match=r"record 1: .*field 'n' is 'x'"):
        await run(config, [{"n": 1}, {"n": "x"}])
