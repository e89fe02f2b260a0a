"""Names of fields in the configs of nodes that work on records."""

from typing import Annotated, cast

from more_itertools import duplicates_everseen
from pydantic import AfterValidator, BeforeValidator, Field

from engine.json_values import JsonValue, as_text
from tasks.config.fields import no_template

_NO_BRACES: dict[str, JsonValue] = {"pattern": r"^(?![\s\S]*\{\{)"}
_SOME_NAME: dict[str, JsonValue] = {"pattern": r"^(?![\s\S]*\{\{)[\s\S]*\S"}

FieldName = Annotated[str, AfterValidator(no_template), Field(json_schema_extra=_NO_BRACES)]
"""The name of a field, or the path of one, as it is, with the spaces around it. Templates have
nothing to be filled from."""


def as_items(value: object) -> object:
    """The items of a list, or of a text with commas or lines; those left blank are left out.

    Of a text the spaces around each item are left out too.
    """
    if isinstance(value, str):
        value = [item.strip() for item in value.replace("\n", ",").split(",")]
    if not isinstance(value, list):
        raise ValueError("should be a list, or a text with commas")  # noqa: TRY004 - pydantic takes no other
    items = cast("list[JsonValue]", value)
    return [item for item in items if item is not None and str(item).strip()]


def as_names(value: object) -> object:
    """The names of ``as_items`` as texts, each once."""
    return list(dict.fromkeys(as_text(item) for item in cast("list[JsonValue]", as_items(value))))


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
"""Names of fields, each once: a list, or a text with commas or lines; a form gives the list."""
