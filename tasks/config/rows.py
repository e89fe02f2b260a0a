"""Rows of list settings: editors add blank ones, which count as not set."""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import AliasChoices, BaseModel

from engine.json_values import JsonValue, is_blank, is_list, is_object

_ROW_IDS = frozenset({"id", "_id", "uuid"})
"""Keys with which an editor identifies rows."""
IS_BLANK_ROW = "is_blank_row"
"""Name of the class method with which a row model replaces the default rule."""


def aliases(model: type[BaseModel], name: str) -> list[str]:
    """Return the config keys of a field, in order of precedence."""
    alias = model.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias if isinstance(alias, str) else name]


def without_blank_rows(model: type[BaseModel] | None, rows: JsonValue) -> JsonValue:
    """Return the rows of a list without the blank ones; a value that is not a list as it is."""
    return [row for row in rows if not is_blank_row(model, row)] if is_list(rows) else rows


def sent_index(model: type[BaseModel] | None, rows: list[JsonValue], index: int) -> int:
    """Return the position, in the list that was sent, of a row without the blank ones."""
    filled = [i for i, row in enumerate(rows) if not is_blank_row(model, row)]
    return filled[index] if index < len(filled) else index


def is_blank_row(model: type[BaseModel] | None, row: JsonValue) -> bool:
    """Return whether a row has no values yet.

    The default of a choice counts as blank, because a new row has it. If the row has other settings
    and all of them are blank, every choice counts as blank.
    """
    if not is_object(row) or model is None:
        return is_blank(row)
    rule = getattr(model, IS_BLANK_ROW, None)
    if rule is not None:
        return bool(rule(row))
    choices, ids = _choices(model), _ROW_IDS - model.model_fields.keys()
    values = [value for key, value in row.items() if key not in {*choices, *ids}]
    if values:
        return all(map(_is_empty, values))
    return all(
        is_blank(value) or value == choices[key] for key, value in row.items() if key in choices
    )


def _is_empty(value: JsonValue) -> bool:
    return is_blank(value) or value in ([], {})


@cache
def row_models(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    """Return the list settings, by each alias, with the model of their rows."""
    verbatim = getattr(model, "verbatim", frozenset[str]())
    found: dict[str, type[BaseModel] | None] = {}
    for name, info in model.model_fields.items():
        annotation: Any = info.annotation
        if get_origin(annotation) is not list or name in verbatim:
            continue
        (row,) = get_args(annotation) or (None,)
        while get_origin(row) is Annotated:
            row = get_args(row)[0]
        row_type = cast("object", row)
        is_model = isinstance(row_type, type) and issubclass(row_type, BaseModel)
        kept = cast("type[BaseModel]", row_type) if is_model else None
        found.update(dict.fromkeys([*aliases(model, name), name], kept))
    return found


@cache
def _choices(model: type[BaseModel]) -> Mapping[str, JsonValue]:
    """Return the keys of choices, each with its default."""
    found: dict[str, JsonValue] = {}
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        if get_origin(kind) is Literal or (
            isinstance(kind, type) and issubclass(kind, Enum | bool)
        ):
            found.update(dict.fromkeys([*aliases(model, name), name], info.default))
    return found
