"""The tests of a condition: operators over JSON values, and their combination with AND or OR."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from engine.errors import NodeError
from engine.values import MISSING, JsonValue, Missing, as_number, as_text, lookup


class Operator(StrEnum):
    """How a field is held against a value."""

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

    @classmethod
    def parse(cls, spelling: str) -> "Operator":
        """The operator of a spelling, ``greaterThan`` or ``greater_than``.

        Raises:
            ValueError: there is none; the message names the known ones.
        """
        head, *rest = spelling.strip().split("_")
        try:
            return cls(head + "".join(word.capitalize() for word in rest))
        except ValueError:
            known = ", ".join(cls)
            raise ValueError(f"unknown operator '{spelling}'; known are: {known}") from None


@dataclass(frozen=True, slots=True)
class Test:
    """One test: the field at a dotted path, an operator, and the value to hold it against."""

    __test__ = False  # pytest would take the name for a test class

    field: str
    operator: Operator
    value: JsonValue = None


def holds_all(tests: Sequence[Test], record: JsonValue) -> bool:
    """Whether every test holds; stops at the first that does not."""
    return all(holds(test, record) for test in tests)


def holds_any(tests: Sequence[Test], record: JsonValue) -> bool:
    """Whether some test holds; stops at the first that does."""
    return any(holds(test, record) for test in tests)


def holds(test: Test, record: JsonValue) -> bool:
    """Whether one test holds for ``record``. A missing field is empty and equal to nothing.

    Raises:
        NodeError: an ordering of something that is no number; names field and value.
    """
    found = lookup(record, test.field)
    return _TESTS[test.operator](test, found)


def _text(value: JsonValue | Missing) -> str:
    return "" if value is None or isinstance(value, Missing) else as_text(value)


def _equals(test: Test, found: JsonValue | Missing) -> bool:
    left, right = as_number(found), as_number(test.value)
    if left is not None and right is not None:
        return left == right
    if isinstance(found, Missing):
        return False
    return _text(found) == _text(test.value)


def _ordered(
    compare: Callable[[float, float], bool],
) -> Callable[[Test, JsonValue | Missing], bool]:
    def run(test: Test, found: JsonValue | Missing) -> bool:
        left, right = as_number(found), as_number(test.value)
        if isinstance(found, Missing):
            raise NodeError(
                f"{test.operator}: the input has no field '{test.field}'", retryable=False
            )
        if left is None:
            raise NodeError(
                f"{test.operator}: field '{test.field}' is {shown(found)}, which is no number",
                retryable=False,
            )
        if right is None:
            raise NodeError(
                f"{test.operator}: field '{test.field}' is held against {shown(test.value)}, "
                "which is no number",
                retryable=False,
            )
        return compare(left, right)

    return run


_SHOWN = 80
"""How many characters of a value an error shows."""


def shown(value: JsonValue) -> str:
    """A value as an error shows it: texts in quotation marks, long ones cut."""
    text = as_text(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _contains(test: Test, found: JsonValue | Missing) -> bool:
    wanted = _text(test.value).casefold()
    if isinstance(found, list):
        return any(_text(item).casefold() == wanted for item in cast("list[JsonValue]", found))
    if isinstance(found, Missing) or found is None:
        return False
    return wanted in _text(found).casefold()


def _starts_with(test: Test, found: JsonValue | Missing) -> bool:
    return found is not MISSING and _text(found).casefold().startswith(_text(test.value).casefold())


def _ends_with(test: Test, found: JsonValue | Missing) -> bool:
    return found is not MISSING and _text(found).casefold().endswith(_text(test.value).casefold())


def _is_empty(_test: Test, found: JsonValue | Missing) -> bool:
    if found is None or isinstance(found, Missing):
        return True
    return isinstance(found, str | list | Mapping) and len(found) == 0  # pyright: ignore[reportUnknownArgumentType]


def _is_text(_test: Test, found: JsonValue | Missing) -> bool:
    return isinstance(found, str) and as_number(found) is None


def _is_number(_test: Test, found: JsonValue | Missing) -> bool:
    return as_number(found) is not None


def _negated(
    run: Callable[[Test, JsonValue | Missing], bool],
) -> Callable[[Test, JsonValue | Missing], bool]:
    return lambda test, found: not run(test, found)


_TESTS: dict[Operator, Callable[[Test, JsonValue | Missing], bool]] = {
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
}
