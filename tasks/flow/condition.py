"""condition node: tests its input and selects the outputs that are live."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from prefect import task
from pydantic import BeforeValidator, Field

from engine.conditions import Comparison, Operator, holds
from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, Missing, is_list, is_object, lookup
from offload import count_read
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, FormModel, NodeConfig, fill, has_template, read_config
from tasks.config.fields import Mode, upper
from tasks.context import current_node_run
from tasks.templating.filters import VALUE_COST

_WITHOUT_VALUE = {Operator.IS_EMPTY, Operator.IS_NOT_EMPTY, Operator.IS_TEXT, Operator.IS_NUMBER}
_LOOP = "loop."
_OUTER = "outer."


def _as_operator(value: object) -> object:
    return Operator.parse(value) if isinstance(value, str) else value


ComparisonOperator = Annotated[
    Operator, BeforeValidator(_as_operator, json_schema_input_type=Operator)
]
TestedField = Annotated[str, TEMPLATED, Field(title="Field")]


class AdditionalCondition(FormModel, title="Condition"):
    """An additional comparison of a condition."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    field: TestedField
    """The field to test, such as ``a.b.0.c`` or ``loop.item``; may be a template."""
    operator: ComparisonOperator = Field(default=Operator.EQUALS, title="Comparison")
    """The comparison of the field with the value."""
    value: JsonValue = Field(default=None, title="Value")
    """The value to compare with; may contain templates."""


class ComparisonsConfig(NodeConfig):
    """Comparisons of the input of a condition, or of each record of a filter."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"condition_value"})

    condition_field: TestedField
    """The field to test, such as ``a.b.0.c`` or ``loop.item``; may be a template."""
    condition_operator: ComparisonOperator = Field(default=Operator.EQUALS, title="Comparison")
    """The comparison of the field with the value."""
    condition_value: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Value")
    """The value to compare with; may contain templates."""
    additional_conditions: Annotated[list[AdditionalCondition], TEMPLATED] = Field(
        default_factory=list[AdditionalCondition], title="Further conditions"
    )
    """Comparisons in addition to the first one."""
    logical_operator: Annotated[Literal["AND", "OR"], BeforeValidator(upper)] = Field(
        default="AND", title="Combination"
    )
    """Whether all comparisons must be true, or at least one."""


class ConditionConfig(
    ComparisonsConfig, title="Condition", category="flow", outputs=("true", "false"), pure=True
):
    """Tests its input and selects an output."""

    processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` sends each record of a list to the output ``true`` or ``false``."""


@task(name="condition")
@computed
def handle_condition(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Test the input, or each record of a list.

    The result has ``conditionResult`` for ``batch``, and ``trueRecords`` and ``falseRecords`` for
    ``perRow`` on a list. ``outputData`` is the unchanged input. Raises a ``NodeError`` if a field
    and a value cannot be compared.
    """
    config = read_config(ConditionConfig, node)
    if config.processing_mode == "perRow" and is_list(input_data):
        true, false = partition_records(config, input_data)
        message = f"Condition is true for {len(true)} of {len(input_data)} records"
        message += f", false for {len(false)}"
        return success(message, input_data, trueRecords=true, falseRecords=false)
    first: JsonValue = input_data
    if is_list(input_data):
        first = input_data[0] if input_data else dict[str, JsonValue]()
    passed = _passes(config, first)
    return success(f"Condition is {str(passed).lower()}", input_data, conditionResult=passed)


def partition_records(
    config: ComparisonsConfig, records: Sequence[JsonValue]
) -> tuple[list[JsonValue], list[JsonValue]]:
    """Return the records that pass the comparisons, and the others, in their order.

    If a field and a value cannot be compared, a ``NodeError`` names the record.
    """
    passed: list[JsonValue] = []
    failed: list[JsonValue] = []
    for index, record in enumerate(records):
        count_read(VALUE_COST)
        try:
            (passed if _passes(config, record) else failed).append(record)
        except NodeError as error:
            raise PermanentError(f"record {index}: {error}") from None
    return passed, failed


def _passes(config: ComparisonsConfig, record: JsonValue) -> bool:
    # Lazily, because a comparison that is not needed must not fail.
    outcomes = _outcomes(config, record)
    return any(outcomes) if config.logical_operator == "OR" else all(outcomes)


def _outcomes(config: ComparisonsConfig, record: JsonValue) -> Iterator[bool]:
    first = Comparison(config.condition_field, config.condition_operator, config.condition_value)
    yield comparison_holds("conditionField", "conditionValue", first, record)
    for index, condition in enumerate(config.additional_conditions):
        setting = f"additionalConditions.{index}"
        comparison = Comparison(condition.field, condition.operator, condition.value)
        yield comparison_holds(f"{setting}.field", f"{setting}.value", comparison, record)


def comparison_holds(
    field_setting: str, value_setting: str, comparison: Comparison, record: JsonValue
) -> bool:
    """Return whether a comparison, whose settings are templates, holds for a record.

    Raises a ``NodeError`` if the field and the value cannot be compared.
    """
    tested = _field_value(field_setting, comparison.field, record)
    # The editor keeps the value when the new operator does not use it.
    unused = comparison.operator in _WITHOUT_VALUE
    value = None if unused else fill(value_setting, comparison.value, record)
    return holds(replace(comparison, value=value), tested)


def _field_value(setting: str, field: str, record: JsonValue) -> JsonValue | Missing:
    """Return the value of a tested field.

    A field of the record takes precedence over ``loop.item`` and the other fields of the enclosing
    loop. All other names of templates must be written as a template.
    """
    if has_template(field):
        return fill(setting, field, record)
    value = lookup(record, field)
    if isinstance(value, Missing) and field.startswith(_LOOP):
        return _loop_value(field)
    return value


def _loop_value(field: str) -> JsonValue | Missing:
    loop = current_node_run().loop()
    if not is_object(loop):
        raise PermanentError(f"the input has no field '{field}', and the node is not inside a loop")
    path = field.removeprefix(_LOOP)
    while path.startswith(_OUTER) and is_object(outer := loop.get("outer")):
        loop, path = outer, path.removeprefix(_OUTER)
    value = lookup(loop, path)
    # A missing field of the item is treated like that of a record; another name is an error.
    if isinstance(value, Missing) and path.partition(".")[0] != "item":
        names = ", ".join(sorted(loop))
        raise PermanentError(f"the loop has no field '{field}' (it has: {names})")
    return value
