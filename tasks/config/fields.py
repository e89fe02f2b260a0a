"""Field helpers: values, annotations and schema marks that several node configs share."""

from typing import Annotated, Literal

from more_itertools import duplicates_everseen
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic.alias_generators import to_snake

from engine.json_values import JsonValue, as_text, is_list
from tasks.config.base import MissingSettingError, has_template
from tasks.config.json_schema import WIDGET

SECRET: dict[str, JsonValue] = {"writeOnly": True, "format": "password"}
"""JSON Schema of a setting whose value is never shown."""
LONG_TEXT: dict[str, JsonValue] = {WIDGET: "textarea"}
NO_TEMPLATE: dict[str, JsonValue] = {"pattern": r"^(?=[\s\S]*\S)(?![\s\S]*\{\{)"}
"""JSON Schema of a string that is neither blank nor a template."""


def upper(value: object) -> object:
    """Return a string in upper case without surrounding spaces; other values are unchanged."""
    return value.strip().upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    """Return a string in lower case without surrounding spaces; other values are unchanged."""
    return value.strip().lower() if isinstance(value, str) else value


def trimmed(value: object) -> object:
    """Return a string without surrounding spaces; other values are unchanged."""
    return value.strip() if isinstance(value, str) else value


Mode = Annotated[Literal["batch", "perRow"], BeforeValidator(trimmed)]
"""Whether a list is processed as one input or record by record."""


def no_template(field: str) -> str:
    """Reject a placeholder in the name of a field, because such names are not filled."""
    if has_template(field):
        raise ValueError("should be the name of a field, without {{ }}")
    return field


def required_for(setting: str, value: str, unset: JsonValue) -> AfterValidator:
    """Return the check of a setting that another one requires: ``setting``, if it is ``value``.

    The other one is declared first. The setting has the default ``unset``, which is validated.
    """

    def check(own: JsonValue, info: ValidationInfo) -> JsonValue:
        if own == unset and info.data.get(to_snake(setting)) == value:
            raise MissingSettingError(f"is required when {setting} is {value}")
        return own

    return AfterValidator(check)


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
