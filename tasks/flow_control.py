"""The condition: tests its input and says which way the run goes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from prefect import task

from engine.conditions import Operator, Test, holds
from engine.errors import NodeError
from engine.values import JsonValue
from tasks.config_base import fill, read_config
from tasks.configs import ConditionConfig, ProcessingMode, TestsConfig

_WITHOUT_VALUE = {Operator.IS_EMPTY, Operator.IS_NOT_EMPTY, Operator.IS_TEXT, Operator.IS_NUMBER}


@task(name="condition")
async def handle_condition(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Tests the input, or sorts the records of a list.

    ``batch``: ``conditionResult`` says which way; ``perRow`` on a list: ``trueRecords`` and
    ``falseRecords``. ``outputData`` is the input, unchanged, in both.

    Raises:
        NodeError: the config is not valid, or a test cannot be made; names field and value.
    """
    config = read_config(ConditionConfig, node)
    if config.processing_mode == ProcessingMode.PER_ROW and isinstance(input_data, list):
        return _sort_records(config, cast("list[JsonValue]", input_data))
    passed = _passes(config, _first_record(input_data))
    return {
        "success": True,
        "message": f"Condition is {str(passed).lower()}",
        "outputData": input_data,
        "conditionResult": passed,
    }


def _sort_records(config: ConditionConfig, records: list[JsonValue]) -> dict[str, JsonValue]:
    passing, others = sort_records(config, records)
    return {
        "success": True,
        "message": f"Condition is true for {len(passing)} of {len(records)} records, "
        f"false for {len(others)}",
        "outputData": records,
        "trueRecords": passing,
        "falseRecords": others,
    }


def sort_records(
    config: TestsConfig, records: Sequence[JsonValue]
) -> tuple[list[JsonValue], list[JsonValue]]:
    """The records that pass the tests, and those that do not, each in their order.

    Raises:
        NodeError: a test cannot be made; names record, field and value.
    """
    passing: list[JsonValue] = []
    others: list[JsonValue] = []
    for index, record in enumerate(records):
        try:
            (passing if _passes(config, record) else others).append(record)
        except NodeError as error:
            raise NodeError(f"record {index}: {error}", retryable=False) from None
    return passing, others


def _first_record(data: JsonValue) -> JsonValue:
    if isinstance(data, list):
        records = cast("list[JsonValue]", data)
        return records[0] if records else cast("Mapping[str, JsonValue]", {})
    return data


def _passes(config: TestsConfig, record: JsonValue) -> bool:
    # Lazily: a test that is not needed any more must not fail over its value.
    outcomes = (holds(test, record) for test in _tests(config, record))
    return any(outcomes) if config.logical_operator == "OR" else all(outcomes)


def _tests(config: TestsConfig, record: JsonValue) -> Iterator[Test]:
    yield _test(
        "conditionValue",
        config.condition_field,
        config.condition_operator,
        config.condition_value,
        record,
    )
    for index, further in enumerate(config.additional_conditions):
        setting = f"additionalConditions.{index}.value"
        yield _test(setting, further.field, further.operator, further.value, record)


def _test(
    setting: str, field: str, operator: Operator, value: JsonValue, record: JsonValue
) -> Test:
    # The editor keeps the value when the operator is changed to one that needs none.
    held = None if operator in _WITHOUT_VALUE else fill(setting, value, record)
    return Test(field, operator, held)
