"""aggregate node: makes one record of each group of records, with sums, counts and others."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation, localcontext
from fractions import Fraction
from operator import itemgetter
from typing import Annotated, Any, Literal, TypeAlias

from more_itertools import duplicates_everseen, map_reduce
from prefect import task
from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from engine.errors import NodeError, PermanentError
from engine.json_values import (
    JsonValue,
    Missing,
    as_number,
    describe_value,
    hashable,
    is_blank,
    lookup,
)
from engine.timestamps import point_in_time
from offload import check_stop
from tasks.compute import success
from tasks.config.base import FormModel, MissingSettingError, read_config
from tasks.config.fields import FieldName, FieldNames
from tasks.records.records import (
    MissingPolicy,
    OutputLimit,
    Record,
    RecordsConfig,
    as_records,
    require_fields,
)

MAX_GROUP_FIELDS = 20
MAX_AGGREGATIONS = 100

_EXACT = Context(prec=5_000, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])
"""Enough precision that the sum of any JSON numbers is exact and independent of their order."""


Operation = Literal["count", "countDistinct", "sum", "avg", "min", "max", "first", "last", "list"]
"""How the values of a group are combined."""


def _as_operation(value: object) -> object:
    if not isinstance(value, str):
        return value
    head, *rest = value.strip().split("_")
    operation = head + "".join(word.capitalize() for word in rest)
    if operation not in _OPERATIONS:
        raise ValueError(f"is '{value}'; accepted: {', '.join(_OPERATIONS)}")
    return operation


_FIELD_REQUIRED: dict[str, Any] = {
    "if": {
        "properties": {"operation": {"not": {"const": "count"}}},
        "required": ["operation"],
    },
    "then": {"properties": {"field": {"type": "string", "pattern": r"\S"}}, "required": ["field"]},
}


class Aggregation(FormModel, title="Result", json_schema_extra=_FIELD_REQUIRED):
    """One field of the result."""

    operation: Annotated[
        Operation, BeforeValidator(_as_operation, json_schema_input_type=Operation)
    ] = Field(default="count", title="Operation")
    """How the values of a group are combined."""
    field: FieldName = Field(default="", title="Field", validate_default=True)
    """The field with the values; ``a.b`` is a nested field. ``count`` without it counts records."""
    name: FieldName = Field(default="", title="Name", alias="as")
    """The name of the result; by default ``sum_total`` for the sum of the field ``total``."""

    @field_validator("field")
    @classmethod
    def _field_to_aggregate(cls, field: str, info: ValidationInfo) -> str:
        operation = info.data.get("operation", "count")
        if not field and operation != "count":
            raise MissingSettingError(f"is required for {operation}")
        return field

    @classmethod
    def is_blank_row(cls, row: Mapping[str, JsonValue]) -> bool:
        """Return whether a row is blank; ``count`` needs no other value."""
        values = [row[key] for key in ("field", "as", "name") if key in row]
        operation = row.get("operation")
        if is_blank(operation):
            return all(map(is_blank, values))
        counts = str(operation).strip() == "count"
        return bool(values) and all(map(is_blank, values)) and not counts

    @property
    def result_name(self) -> str:
        """The name of the field with the result."""
        return self.name or "_".join(filter(None, (self.operation, self.field)))


class AggregateConfig(RecordsConfig, title="Aggregate", pure=True):
    """Makes one record of each group of records, with sums, counts and other results."""

    aggregate_group_by: FieldNames = Field(
        default_factory=list[str],
        title="Group by",
        max_length=MAX_GROUP_FIELDS,
        json_schema_extra={"maxItems": MAX_GROUP_FIELDS},
        validation_alias=AliasChoices("aggregateGroupBy", "groupBy"),
    )
    """The fields whose values define a group; ``a.b`` is a nested field. Default: one group."""
    aggregate_operations: list[Aggregation] = Field(
        default_factory=list[Aggregation],
        title="Results",
        max_length=MAX_AGGREGATIONS,
        validation_alias=AliasChoices("aggregateOperations", "aggregations"),
        validate_default=True,
    )
    """The results of each group; by default the number of records."""
    aggregate_missing: MissingPolicy = Field(default="error", title="Fields that no record has")
    """``error`` fails; ``ignore`` treats the field as ``null``."""

    @field_validator("aggregate_operations")
    @classmethod
    def _each_name_once(
        cls, aggregations: list[Aggregation], info: ValidationInfo
    ) -> list[Aggregation]:
        aggregations = aggregations or [Aggregation()]
        grouped: list[str] = info.data.get("aggregate_group_by", [])
        names = [*grouped, *(aggregation.result_name for aggregation in aggregations)]
        if twice := next(duplicates_everseen(names), None):
            raise ValueError(f"creates two fields '{twice}'")
        return aggregations


_Indexed: TypeAlias = tuple[int, JsonValue]
"""A value or record with its index in the input."""


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="aggregate")
def handle_aggregate(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return one record for each group, in the order in which the groups first appear.

    Raises a ``NodeError`` if the input is not records, no record has a field, a value does not fit
    its operation, or the output is too large.
    """
    config = read_config(AggregateConfig, node)
    records = as_records(input_data)
    if config.aggregate_missing == "error":
        fields = [aggregation.field for aggregation in config.aggregate_operations]
        require_fields(records, [*config.aggregate_group_by, *filter(None, fields)])
    output: list[JsonValue]
    size = OutputLimit()
    if config.aggregate_group_by:
        groups = map_reduce(enumerate(records), lambda item: _key(config, item[1]))
        output = [_aggregated(config, group, size) for group in groups.values()]
    else:
        output = [_aggregated(config, list(enumerate(records)), size)]
    return success(f"Aggregated {len(records)} records to {len(output)}", output)


def _value(record: Record, field: str) -> JsonValue:
    value = lookup(record, field)
    return None if isinstance(value, Missing) else value


def _key(config: AggregateConfig, record: Record) -> Hashable:
    check_stop()
    return tuple(hashable(_value(record, field)) for field in config.aggregate_group_by)


def _aggregated(
    config: AggregateConfig, group: Sequence[tuple[int, Record]], size: OutputLimit
) -> dict[str, JsonValue]:
    check_stop()
    result = {field: _value(group[0][1], field) for field in config.aggregate_group_by}
    for value in result.values():
        size.add(value)
    for aggregation in config.aggregate_operations:
        value = result[aggregation.result_name] = _result(aggregation, group)
        size.add(value)
    return result


def _result(aggregation: Aggregation, group: Sequence[tuple[int, Record]]) -> JsonValue:
    if not aggregation.field:
        return len(group)
    check_stop()
    indexed = ((index, _value(record, aggregation.field)) for index, record in group)
    values = [(index, value) for index, value in indexed if value is not None]
    check_stop()
    return _OPERATIONS[aggregation.operation](aggregation, values)


def _sum(aggregation: Aggregation, values: Sequence[_Indexed]) -> JsonValue:
    total = _total(_numbers(aggregation, values))
    return total if isinstance(total, int) else _as_float(aggregation, Fraction(total))


def _average(aggregation: Aggregation, values: Sequence[_Indexed]) -> JsonValue:
    numbers = _numbers(aggregation, values)
    return _as_float(aggregation, Fraction(_total(numbers)) / len(numbers)) if numbers else None


def _numbers(aggregation: Aggregation, values: Sequence[_Indexed]) -> list[int | float]:
    numbers: list[int | float] = []
    for index, value in values:
        number = as_number(value)
        if number is not None:
            numbers.append(number)
        elif not is_blank(value):
            raise _value_error(aggregation, index, value, "is not a number")
    return numbers


def _total(numbers: Sequence[int | float]) -> int | Decimal:
    """Return the exact sum of the decimal numbers: 0.1 and 0.2 result in 0.3."""
    if all(isinstance(number, int) for number in numbers):
        return sum(number for number in numbers if isinstance(number, int))
    with localcontext(_EXACT):
        return sum((Decimal(repr(number)) for number in numbers), Decimal(0))


def _as_float(aggregation: Aggregation, number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        raise PermanentError(
            f"the {aggregation.operation} of field '{aggregation.field}' is too large"
        ) from None


def _extreme(
    pick: Callable[..., Any],
) -> Callable[[Aggregation, Sequence[_Indexed]], JsonValue]:
    def run(aggregation: Aggregation, values: Sequence[_Indexed]) -> JsonValue:
        filled = [(index, value) for index, value in values if not is_blank(value)]
        if not filled:
            return None
        numbers = [as_number(value) for _, value in filled]
        if None not in numbers:
            return pick(numbers)
        has_numbers = any(number is not None for number in numbers)
        for (index, value), number in zip(filled, numbers, strict=True):
            if number is None and not isinstance(value, str):
                raise _value_error(aggregation, index, value, "is neither a number nor a string")
            if number is None and has_numbers:
                raise _value_error(aggregation, index, value, "is not a number, unlike others")
        return _extreme_text(aggregation, filled, pick)

    return run


def _extreme_text(
    aggregation: Aggregation, values: Sequence[_Indexed], pick: Callable[..., Any]
) -> JsonValue:
    """Return the extreme of strings; timestamps are compared as points in time."""
    points = [point_in_time(value) for _, value in values]
    if not any(points):
        return pick(value for _, value in values)
    if None in points:
        index, value = values[points.index(None)]
        raise _value_error(aggregation, index, value, "is not a timestamp, unlike others")
    ranked = [(point, value) for point, (_, value) in zip(points, values, strict=True)]
    return pick(ranked, key=itemgetter(0))[1]


def _value_error(aggregation: Aggregation, index: int, value: JsonValue, reason: str) -> NodeError:
    return PermanentError(
        f"record {index}: {aggregation.operation}: field '{aggregation.field}' is "
        f"{describe_value(value)}, which {reason}"
    )


_OPERATIONS: dict[str, Callable[[Aggregation, Sequence[_Indexed]], JsonValue]] = {
    "count": lambda _, values: len(values),
    "countDistinct": lambda _, values: len({hashable(value) for _, value in values}),
    "sum": _sum,
    "avg": _average,
    "min": _extreme(min),
    "max": _extreme(max),
    "first": lambda _, values: values[0][1] if values else None,
    "last": lambda _, values: values[-1][1] if values else None,
    "list": lambda _, values: [value for _, value in values],
}
