"""Form keywords: checks of JSON Schema keywords that replace those of jsonschema.

jsonschema matches patterns with backtracking, compares each pair of items for ``uniqueItems``, and
computes ``multipleOf`` with floating point numbers, so that 19.99 is not a multiple of 0.01 and a
long integer raises an error.
"""

import functools
from collections.abc import Hashable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

from engine.json_values import is_list, is_object

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as Violation


@functools.lru_cache(256)
def pattern_matcher(pattern: str) -> TypeAdapter[str]:
    """Return a matcher in Rust's engine, whose time is linear in the length of the text.

    Raises:
        pydantic_core.SchemaError: If the pattern is invalid or has look-around.
    """
    kind = Annotated[str, StringConstraints(pattern=pattern)]
    return TypeAdapter(kind, config=ConfigDict(regex_engine="rust-regex"))


def _check_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> "Iterator[Violation]":
    if isinstance(instance, str):
        try:
            pattern_matcher(pattern).validate_python(instance)
        except ValidationError:
            yield _violation(f"{instance!r} does not match {pattern!r}")


def _check_unique_items(
    _validator: object, is_required: object, instance: object, _schema: object
) -> "Iterator[Violation]":
    if is_required is True and is_list(instance):
        seen: set[Hashable] = set()
        for position, item in enumerate(instance):
            key = _key(item)
            if key in seen:
                yield _violation(f"item {position} is equal to an earlier item")
                return
            seen.add(key)


def _check_multiple_of(
    _validator: object, divisor: float, instance: object, _schema: object
) -> "Iterator[Violation]":
    if not isinstance(instance, int | float) or isinstance(instance, bool):
        return
    if (_exact(instance) / _exact(divisor)).denominator != 1:
        yield _violation(f"{instance!r} is not a multiple of {divisor!r}")


KEYWORDS: dict[str, Any] = {
    "pattern": _check_pattern,
    "uniqueItems": _check_unique_items,
    "multipleOf": _check_multiple_of,
}
"""The checks by keyword, for ``jsonschema.validators.extend``."""


def _key(value: object) -> Hashable:
    """Return a value that is equal for equal JSON values; numbers are equal by their size."""
    if is_object(value):
        return "object", frozenset((name, _key(item)) for name, item in value.items())
    if is_list(value):
        return "list", tuple(map(_key, value))
    return isinstance(value, bool), cast("Hashable", value)


def _exact(number: float) -> Fraction:
    """Return the number that the shortest decimal notation of ``number`` states."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _violation(message: str) -> "Violation":
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - only forms need the library

    return ValidationError(message)
