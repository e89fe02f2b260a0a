"""Field helpers: values, annotations and schema marks that several node configs share."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

from engine.json_values import JsonValue
from tasks.config.base import has_template
from tasks.config.json_schema import WIDGET

SECRET: dict[str, JsonValue] = {"writeOnly": True, "format": "password"}
"""Marks a setting in the JSON Schema as one whose value is not shown again."""
LONG_TEXT: dict[str, JsonValue] = {WIDGET: "textarea"}
NO_TEMPLATE: dict[str, JsonValue] = {"pattern": r"^(?=[\s\S]*\S)(?![\s\S]*\{\{)"}
"""Says in the schema that a text names something, as it is: neither blank nor a template."""


def upper(value: object) -> object:
    """A text in capitals, without the spaces around it; anything else as it is."""
    return value.strip().upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    """Return a text in lower case, without the spaces around it; anything else as it is."""
    return value.strip().lower() if isinstance(value, str) else value


def trimmed(value: object) -> object:
    """A text without the spaces around it; anything else as it is."""
    return value.strip() if isinstance(value, str) else value


class ProcessingMode(StrEnum):
    """Whether a list is taken as one input or record by record."""

    BATCH = "batch"
    PER_ROW = "perRow"


Mode = Annotated[ProcessingMode, BeforeValidator(trimmed)]


def no_template(field: str) -> str:
    """A placeholder in a field's name would look for a field of that text, and never find it."""
    if has_template(field):
        raise ValueError("should be the name of a field, without {{ }}")
    return field
