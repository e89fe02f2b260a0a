"""Field names: types of the settings that name fields of records."""

from typing import Annotated

from more_itertools import duplicates_everseen
from pydantic import AfterValidator, BeforeValidator, Field

from engine.json_values import JsonValue, as_text, is_list
from tasks.config.fields import no_template

_NO_BRACES: dict[str, JsonValue] = {"pattern": r"^(?![\s\S]*\{\{)"}
_SOME_NAME: dict[str, JsonValue] = {"pattern": r"^(?![\s\S]*\{\{)[\s\S]*\S"}

FieldName = Annotated[str, AfterValidator(no_template), Field(json_schema_extra=_NO_BRACES)]
"""Name or path of a field; surrounding spaces are part of it. It cannot contain templates."""


def as_items(value: object) -> list[JsonValue]:
    """Return the items of a list, or of a string with commas or lines, without blank ones.

    The spaces around the items of a string are removed.
    """
    if isinstance(value, str):
        value = [item.strip() for item in value.replace("\n", ",").split(",")]
    if not is_list(value):
        raise ValueError("should be a list, or a string with commas")
    return [item for item in value if item is not None and str(item).strip()]


def as_names(value: object) -> list[str]:
    """Return the distinct items of ``as_items`` as strings."""
    return list(dict.fromkeys(as_text(item) for item in as_items(value)))


def _each_once(names: list[str]) -> list[str]:
    if twice := next(duplicates_everseen(names), None):
        raise ValueError(f"names '{twice}' twice")
    return names


_FormNames = Annotated[
    list[Annotated[str, Field(title="Field", json_schema_extra=_SOME_NAME)]],
    Field(json_schema_extra={"uniqueItems": True}),
]
FieldNames = Annotated[
    list[FieldName],
    BeforeValidator(as_items, json_schema_input_type=_FormNames),
    AfterValidator(_each_once),
]
"""Distinct names of fields: a list, or a string with commas or lines; forms send a list."""
