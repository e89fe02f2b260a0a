"""The condition: tests its input and says which way the run goes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

from prefect import task
from pydantic import BeforeValidator, Field

from engine.conditions import Comparison, Operator, holds_for
from engine.errors import NodeError
from engine.json_values import JsonValue, Missing, lookup
from offload import count_read
from tasks.compute import compute
from tasks.config.base import TEMPLATED, FormModel, NodeConfig, fill, has_template, read_config
from tasks.config.fields import Mode, ProcessingMode, upper
from tasks.context import current_node_run
from tasks.templating.filters import VALUE_COST

_WITHOUT_VALUE = {Operator.IS_EMPTY, Operator.IS_NOT_EMPTY, Operator.IS_TEXT, Operator.IS_NUMBER}
_LOOP = "loop."
_OUTER = "outer."


def _as_operator(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Operator.parse(value)
    except ValueError as error:
        raise ValueError(f"names an {error}") from None


_Operator = Annotated[Operator, BeforeValidator(_as_operator, json_schema_input_type=Operator)]
_TestedField = Annotated[str, TEMPLATED, Field(title="Field")]


class AdditionalCondition(FormModel, title="Condition"):
    """One more test of a condition."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    field: _TestedField
    """The field to test; ``a.b.0.c`` reaches inside. ``loop.item``, or a template."""
    operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    value: JsonValue = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""


class ComparisonsConfig(NodeConfig):
    """The tests that a condition makes, and a filter on each record."""

    __test__ = False  # pytest would take the name for a test class
    verbatim: ClassVar[frozenset[str]] = frozenset({"condition_value"})

    condition_field: _TestedField
    """The field to test; ``a.b.0.c`` reaches inside. ``loop.item``, or a template."""
    condition_operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    condition_value: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""
    additional_conditions: Annotated[list[AdditionalCondition], TEMPLATED] = Field(
        default_factory=list[AdditionalCondition], title="Further conditions"
    )
    """Tests beside the first."""
    logical_operator: Annotated[Literal["AND", "OR"], BeforeValidator(upper)] = Field(
        default="AND", title="Combination"
    )
    """Whether all tests must hold, or one."""


class ConditionConfig(
    ComparisonsConfig, title="Condition", category="flow", outputs=("true", "false")
):
    """Tests its input and picks the way on."""

    processing_mode: Mode = Field(default=ProcessingMode.BATCH, title="Processing")
    """``perRow`` sorts the records of a list into those that pass and those that do not."""


@task(name="condition")
async def handle_condition(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Tests the input, or sorts the records of a list.

    ``batch``: ``conditionResult`` says which way; ``perRow`` on a list: ``trueRecords`` and
    ``falseRecords``. ``outputData`` is the input, unchanged, in both.

    Raises:
        NodeError: the config is not valid, or a test cannot be made; names field and value.
    """
    return await compute((node, input_data), _condition, node, input_data)


def _condition(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
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
    config: ComparisonsConfig, records: Sequence[JsonValue]
) -> tuple[list[JsonValue], list[JsonValue]]:
    """The records that pass the tests, and those that do not, each in their order.

    Raises:
        NodeError: a test cannot be made; names record, field and value.
    """
    passing: list[JsonValue] = []
    others: list[JsonValue] = []
    for index, record in enumerate(records):
        count_read(VALUE_COST)
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


def _passes(config: ComparisonsConfig, record: JsonValue) -> bool:
    # Lazily: a test that is not needed any more must not fail over its value.
    outcomes = _outcomes(config, record)
    return any(outcomes) if config.logical_operator == "OR" else all(outcomes)


def _outcomes(config: ComparisonsConfig, record: JsonValue) -> Iterator[bool]:
    first = Comparison(config.condition_field, config.condition_operator, config.condition_value)
    yield _holds("conditionField", "conditionValue", first, record)
    for index, further in enumerate(config.additional_conditions):
        setting = f"additionalConditions.{index}"
        test = Comparison(further.field, further.operator, further.value)
        yield _holds(f"{setting}.field", f"{setting}.value", test, record)


def _holds(field_setting: str, value_setting: str, test: Comparison, record: JsonValue) -> bool:
    found = _found(field_setting, test.field, record)
    # The editor keeps the value when the operator is changed to one that needs none.
    unused = test.operator in _WITHOUT_VALUE
    value = None if unused else fill(value_setting, test.value, record)
    return holds_for(replace(test, value=value), found)


def _found(setting: str, field: str, record: JsonValue) -> JsonValue | Missing:
    """Return the value of a tested field.

    A field of the record takes precedence. ``loop.item`` and the like are those of the loop around
    the node; anything else that templates know is written as a template.
    """
    if has_template(field):
        return fill(setting, field, record)
    found = lookup(record, field)
    if isinstance(found, Missing) and field.startswith(_LOOP):
        return _of_loop(field)
    return found


def _of_loop(field: str) -> JsonValue | Missing:
    around = current_node_run().loop()
    if isinstance(around, Missing):
        raise NodeError(
            f"there is no '{field}': the input has no such field, and the node is not inside a "
            "loop",
            retryable=False,
        )
    loop, path = cast("Mapping[str, JsonValue]", around), field.removeprefix(_LOOP)
    while path.startswith(_OUTER) and "outer" in loop:
        loop, path = loop["outer"], path.removeprefix(_OUTER)
    found = lookup(loop, path)
    # A field that an item does not have is missing as in any record; a wrong name is an error.
    if isinstance(found, Missing) and path.partition(".")[0] != "item":
        names = ", ".join(sorted(loop))
        raise NodeError(f"the loop has no field '{field}' (it has: {names})", retryable=False)
    return found
