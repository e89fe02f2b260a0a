"""Conditions: comparisons of JSON values, combined with AND or OR."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import NodeError
from engine.json_values import (
    MISSING,
    JsonValue,
    Missing,
    as_number,
    as_text,
    describe_value,
    hashable,
    is_list,
    is_object,
    load_json,
    lookup,
    nfc,
)
from engine.timestamps import PointInTime, point_in_time


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

        Raises:
            ValueError: If it does not exist; the message contains the operators.
        """
        head, *rest = name.strip().split("_")
        try:
            return cls(head + "".join(word.capitalize() for word in rest))
        except ValueError:
            known = ", ".join(cls)
            raise ValueError(f"unknown operator '{name}'; known are: {known}") from None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of the field at a dotted path with a value."""

    field: str
    operator: Operator
    value: JsonValue = None


def holds_all(comparisons: Sequence[Comparison], record: JsonValue) -> bool:
    """Return whether all comparisons hold; stop at the first that does not."""
    return all(holds(comparison, record) for comparison in comparisons)


def holds_any(comparisons: Sequence[Comparison], record: JsonValue) -> bool:
    """Return whether any comparison holds; stop at the first that does."""
    return any(holds(comparison, record) for comparison in comparisons)


def holds(comparison: Comparison, record: JsonValue) -> bool:
    """Return whether a comparison holds. A missing field is empty and not equal to any value.

    Raises:
        NodeError: If values that are not numbers are ordered; the error names field and value.
    """
    return holds_for(comparison, lookup(record, comparison.field))


def holds_for(comparison: Comparison, found: JsonValue | Missing) -> bool:
    """Return whether a comparison holds for the value of its field.

    Raises:
        NodeError: See ``holds``.
    """
    return _COMPARISONS[comparison.operator](comparison, found)


def _text(value: JsonValue | Missing) -> str:
    """Return a value as a string that compares; 10.0 is the same number as 10."""
    if value is None or isinstance(value, Missing):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return nfc(as_text(value))


def _folded(value: JsonValue | Missing) -> str:
    return nfc(_text(value).casefold())


def _equals(comparison: Comparison, found: JsonValue | Missing) -> bool:
    return not isinstance(found, Missing) and _same(found, comparison.value, _text)


def _same(left: JsonValue, right: JsonValue, as_comparable: Callable[[JsonValue], str]) -> bool:
    numbers = as_number(left), as_number(right)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if _is_structure(left) or _is_structure(right):
        left, right = _structure(left), _structure(right)
        if _is_structure(left) and _is_structure(right):
            return hashable(left) == hashable(right)
    return as_comparable(left) == as_comparable(right)


def _is_structure(value: JsonValue) -> bool:
    return is_list(value) or is_object(value)


def _structure(value: JsonValue) -> JsonValue:
    """Return the list or object that a string of JSON is; every other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return load_json(value)
        except ValueError:
            return value
    return value


def _ordered(
    compare: Callable[[float, float], bool],
) -> Callable[[Comparison, JsonValue | Missing], bool]:
    def run(comparison: Comparison, found: JsonValue | Missing) -> bool:
        left, right = as_number(found), as_number(comparison.value)
        if isinstance(found, Missing):
            raise NodeError(
                f"{comparison.operator}: the input has no field '{comparison.field}'",
                retryable=False,
            )
        if left is None:
            raise NodeError(
                f"{comparison.operator}: field '{comparison.field}' is {describe_value(found)}, "
                f"which is not a number{_hint(found)}",
                retryable=False,
            )
        if right is None:
            raise NodeError(
                f"{comparison.operator}: field '{comparison.field}' is compared with "
                f"{describe_value(comparison.value)}, which is not a number",
                retryable=False,
            )
        return compare(left, right)

    return run


def _hint(found: JsonValue) -> str:
    return "" if point_in_time(found) is None else "; isBefore and isAfter compare timestamps"


def _chronological(
    compare: Callable[[PointInTime, PointInTime], bool],
) -> Callable[[Comparison, JsonValue | Missing], bool]:
    def run(comparison: Comparison, found: JsonValue | Missing) -> bool:
        if isinstance(found, Missing):
            raise NodeError(
                f"{comparison.operator}: the input has no field '{comparison.field}'",
                retryable=False,
            )
        left, right = point_in_time(found), point_in_time(comparison.value)
        for value, point, verb in (
            (found, left, "is"),
            (comparison.value, right, "is compared with"),
        ):
            if point is None:
                raise NodeError(
                    f"{comparison.operator}: field '{comparison.field}' {verb} "
                    f"{describe_value(value)}, which is not a date or timestamp in ISO 8601",
                    retryable=False,
                )
        return left is not None and right is not None and compare(left, right)

    return run


def _contains(comparison: Comparison, found: JsonValue | Missing) -> bool:
    if is_list(found):
        return any(_same(item, comparison.value, _folded) for item in found)
    if isinstance(found, Missing) or found is None:
        return False
    return _folded(comparison.value) in _folded(found)


def _starts_with(comparison: Comparison, found: JsonValue | Missing) -> bool:
    return found is not MISSING and _folded(found).startswith(_folded(comparison.value))


def _ends_with(comparison: Comparison, found: JsonValue | Missing) -> bool:
    return found is not MISSING and _folded(found).endswith(_folded(comparison.value))


def _is_empty(_comparison: Comparison, found: JsonValue | Missing) -> bool:
    if found is None or isinstance(found, Missing):
        return True
    return (isinstance(found, str) or _is_structure(found)) and len(found) == 0


def _is_text(_comparison: Comparison, found: JsonValue | Missing) -> bool:
    return isinstance(found, str) and as_number(found) is None


def _is_number(_comparison: Comparison, found: JsonValue | Missing) -> bool:
    return as_number(found) is not None


def _negated(
    run: Callable[[Comparison, JsonValue | Missing], bool],
) -> Callable[[Comparison, JsonValue | Missing], bool]:
    return lambda comparison, found: not run(comparison, found)


_COMPARISONS: dict[Operator, Callable[[Comparison, JsonValue | Missing], bool]] = {
    Operator.EQUALS: _equals,
    Operator.NOT_EQUALS: _negated(_equals),
    Operator.GREATER_THAN: _ordered(lambda left, right: left > right),
    Operator.LESS_THAN: _ordered(lambda left, right: left < right),
    Operator.GREATER_OR_EQUAL: _ordered(lambda left, right: left >= right),
    Operator.LESS_OR_EQUAL: _ordered(lambda left, right: left <= right),
    Operator.CONTAINS: _contains,
    Operator.NOT_CONTAINS: _negated(_contains),
    Operator.STARTS_WITH: _starts_with,
    Operator.ENDS_WITH: _ends_with,
    Operator.IS_EMPTY: _is_empty,
    Operator.IS_NOT_EMPTY: _negated(_is_empty),
    Operator.IS_TEXT: _is_text,
    Operator.IS_NUMBER: _is_number,
    Operator.IS_BEFORE: _chronological(lambda left, right: left < right),
    Operator.IS_AFTER: _chronological(lambda left, right: left > right),
}
