"""Field helpers: values, annotations and schema marks that several node configs share."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

from engine.json_values import JsonValue
from tasks.config.base import has_template
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


class ProcessingMode(StrEnum):
    """Whether a list is processed as one input or record by record."""

    BATCH = "batch"
    PER_ROW = "perRow"


Mode = Annotated[ProcessingMode, BeforeValidator(trimmed)]


def no_template(field: str) -> str:
    """Reject a placeholder in the name of a field, because such names are not filled."""
    if has_template(field):
        raise ValueError("should be the name of a field, without {{ }}")
    return field
