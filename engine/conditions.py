"""Conditions: comparisons of JSON values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import ge, gt, le, lt
from typing import Any

from engine.errors import PermanentError
from engine.json_values import (
    JsonValue,
    Missing,
    as_number,
    as_text,
    describe_value,
    hashable,
    is_list,
    is_object,
    nfc,
    structure_of,
)
from engine.timestamps import point_in_time


class Operator(StrEnum):
    """Comparison of a field with a value."""

    EQUALS = "equals"
    NOT_EQUALS = "notEquals"
    GREATER_THAN = "greaterThan"
    LESS_THAN = "lessThan"
    GREATER_OR_EQUAL = "greaterOrEqual"
    LESS_OR_EQUAL = "lessOrEqual"
    CONTAINS = "contains"
    NOT_CONTAINS = "notContains"
    STARTS_WITH = "startsWith"
    ENDS_WITH = "endsWith"
    IS_EMPTY = "isEmpty"
    IS_NOT_EMPTY = "isNotEmpty"
    IS_TEXT = "isText"
    IS_NUMBER = "isNumber"
    IS_BEFORE = "isBefore"
    IS_AFTER = "isAfter"

    @classmethod
    def parse(cls, name: str) -> "Operator":
        """Return the operator with a name such as ``greaterThan`` or ``greater_than``.

        For an unknown name, a ``ValueError`` contains the operators.
        """
        head, *rest = name.strip().split("_")
        try:
            return cls(head + "".join(word.capitalize() for word in rest))
        except ValueError:
            known = ", ".join(cls)
            raise ValueError(f"names an unknown operator '{name}'; known are: {known}") from None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of the field at a dotted path with a value."""

    field: str
    operator: Operator
    value: JsonValue = None


def holds(comparison: Comparison, found: JsonValue | Missing) -> bool:
    """Return whether a comparison holds for the value of its field.

    A missing field is empty and not equal to any value.

    Raises:
        NodeError: If values are ordered that are not numbers, or not timestamps; the error names
            field and value.
    """
    if comparison.operator in _ORDERS:
        return _is_in_order(comparison, found)
    operator = _NEGATIONS.get(comparison.operator, comparison.operator)
    if isinstance(found, Missing):
        result = operator == Operator.IS_EMPTY
    else:
        result = _TESTS[operator](found, comparison.value)
    return result != (comparison.operator in _NEGATIONS)


def _is_in_order(comparison: Comparison, found: JsonValue | Missing) -> bool:
    read, kind, compare = _ORDERS[comparison.operator]
    where = f"{comparison.operator}: field '{comparison.field}'"
    if isinstance(found, Missing):
        message = f"{comparison.operator}: the input has no field '{comparison.field}'"
        raise PermanentError(message)
    ranks: list[Any] = []
    for value, verb in ((found, "is"), (comparison.value, "is compared with")):
        rank = read(value)
        if rank is None:
            is_time = read is as_number and point_in_time(value) is not None
            hint = "; isBefore and isAfter compare timestamps" if is_time else ""
            message = f"{where} {verb} {describe_value(value)}, which is not {kind}{hint}"
            raise PermanentError(message)
        ranks.append(rank)
    return compare(*ranks)


def _text(value: JsonValue) -> str:
    """Return a value as a string that compares; 10.0 is the same number as 10."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return nfc(as_text(value))


def _folded(value: JsonValue) -> str:
    return nfc(_text(value).casefold())


def _same(left: JsonValue, right: JsonValue, as_comparable: Callable[[JsonValue], str]) -> bool:
    numbers = as_number(left), as_number(right)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if _is_structure(left) or _is_structure(right):
        left, right = structure_of(left), structure_of(right)
        if _is_structure(left) and _is_structure(right):
            return hashable(left) == hashable(right)
    return as_comparable(left) == as_comparable(right)


def _is_structure(value: JsonValue) -> bool:
    return is_list(value) or is_object(value)


def _contains(found: JsonValue, value: JsonValue) -> bool:
    if is_list(found):
        return any(_same(item, value, _folded) for item in found)
    return found is not None and _folded(value) in _folded(found)


_TESTS: dict[Operator, Callable[[JsonValue, JsonValue], bool]] = {
    Operator.EQUALS: lambda found, value: _same(found, value, _text),
    Operator.CONTAINS: _contains,
    Operator.STARTS_WITH: lambda found, value: _folded(found).startswith(_folded(value)),
    Operator.ENDS_WITH: lambda found, value: _folded(found).endswith(_folded(value)),
    Operator.IS_EMPTY: lambda found, _: found in (None, "", [], {}),
    Operator.IS_TEXT: lambda found, _: isinstance(found, str) and as_number(found) is None,
    Operator.IS_NUMBER: lambda found, _: as_number(found) is not None,
}
_NEGATIONS = {
    Operator.NOT_EQUALS: Operator.EQUALS,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.IS_NOT_EMPTY: Operator.IS_EMPTY,
}
_TIMESTAMP = "a date or timestamp in ISO 8601"
_ORDERS: dict[Operator, tuple[Callable[[JsonValue], Any], str, Callable[[Any, Any], bool]]] = {
    Operator.GREATER_THAN: (as_number, "a number", gt),
    Operator.LESS_THAN: (as_number, "a number", lt),
    Operator.GREATER_OR_EQUAL: (as_number, "a number", ge),
    Operator.LESS_OR_EQUAL: (as_number, "a number", le),
    Operator.IS_BEFORE: (point_in_time, _TIMESTAMP, lt),
    Operator.IS_AFTER: (point_in_time, _TIMESTAMP, gt),
}
"""For each operator: reads both values or returns ``None``, names what is accepted, compares."""
