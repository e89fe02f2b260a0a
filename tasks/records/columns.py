"""splitText and renameColumns nodes: split or rename the columns of records."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, ClassVar, TypeAlias

from more_itertools import duplicates_everseen
from prefect import task
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from engine.errors import NodeError
from engine.json_values import JsonValue, as_text, is_list, is_object, kind_of, load_json
from tasks.config.base import FormModel, MissingSettingError, NodeConfig, read_config
from tasks.config.field_names import FieldName, FieldNames, as_items
from tasks.config.fields import NO_TEMPLATE, trimmed
from tasks.config.json_schema import required_when
from tasks.config.rows import is_blank, without_blank_rows
from tasks.records.records import MissingPolicy, OnMissing, Record, field_list, map_records

MAX_COLUMNS = 1_000
"""Maximum number of columns from one string; more usually mean the wrong separator."""


class SplitMode(StrEnum):
    """Where a string is split."""

    SEPARATOR = "separator"
    WHITESPACE = "whitespace"
    POSITION = "position"


class TooFew(StrEnum):
    """Effect of fewer parts than columns."""

    NULL = "null"
    ERROR = "error"


class TooMany(StrEnum):
    """Effect of more parts than columns."""

    MERGE = "merge"
    DROP = "drop"
    ERROR = "error"


def _as_separators(value: object) -> object:
    """Return a list of separators; a space is one, an empty string is not."""
    items: list[object] = [*value] if is_list(value) else [value]
    separators = [_unescaped(item) for item in items if item not in (None, "")]
    return separators or [","]


def _unescaped(text: object) -> object:
    # Unescaped, because the text field of a form accepts neither character.
    return text.replace("\\t", "\t").replace("\\n", "\n") if isinstance(text, str) else text


def _ascending(positions: list[int]) -> list[int]:
    if any(left >= right for left, right in pairwise([0, *positions])):
        raise ValueError("should be positive numbers of characters in ascending order")
    return positions


_FormSeparators = (
    Annotated[str, Field(title="Text")]
    | Annotated[list[Annotated[str, Field(title="Separator")]], Field(title="List", max_length=20)]
)
_FormPositions = Annotated[
    list[Annotated[int, Field(title="Position", ge=1)]], Field(max_length=MAX_COLUMNS - 1)
]
_POSITIONS_REQUIRED = required_when(
    "splitPositions", "splitMode", "position", type="array", minItems=1
)


class SplitTextConfig(
    NodeConfig,
    title="Split text",
    category="data",
    json_schema_extra=_POSITIONS_REQUIRED,
    pure=True,
):
    """Splits the string in one field into several fields."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"split_separator"})

    split_field: FieldName = Field(
        title="Field",
        validation_alias=AliasChoices("splitField", "splitColumn"),
        json_schema_extra=NO_TEMPLATE,
    )
    """The field of the record whose string is split."""
    split_mode: Annotated[SplitMode, BeforeValidator(trimmed)] = Field(
        default=SplitMode.SEPARATOR, title="Split at"
    )
    """At a ``separator``, at runs of ``whitespace``, or after certain characters (``position``)."""
    split_separator: Annotated[
        list[str], BeforeValidator(_as_separators, json_schema_input_type=_FormSeparators)
    ] = Field(
        default_factory=lambda: [","],
        title="Separator",
        max_length=20,
        json_schema_extra={"default": ","},
    )
    """The string between two parts, or a list of them; ``\\t`` is a tab, ``\\n`` a new line."""
    split_positions: Annotated[
        list[int],
        BeforeValidator(as_items, json_schema_input_type=_FormPositions),
        AfterValidator(_ascending),
    ] = Field(
        default_factory=list[int],
        title="Positions",
        validate_default=True,
        max_length=MAX_COLUMNS - 1,
    )
    """The numbers of characters after which a new part begins, for ``position``: 4, 6."""
    split_keep_source: bool = Field(default=True, title="Keep the source")
    """Whether the record keeps the field that was split."""
    split_into: FieldNames = Field(
        default_factory=list[str],
        title="Into",
        max_length=MAX_COLUMNS,
        json_schema_extra={"maxItems": MAX_COLUMNS},
    )
    """The names of the new fields; by default ``field_1``, ``field_2``, …"""
    split_limit: int = Field(default=MAX_COLUMNS, title="Maximum columns", ge=1, le=MAX_COLUMNS)
    """The maximum number of columns without names."""
    split_trim: bool = Field(default=True, title="Trim")
    """Whether the spaces around each part are removed."""
    split_too_few: Annotated[TooFew, BeforeValidator(trimmed)] = Field(
        default=TooFew.NULL, title="Fewer parts than names"
    )
    """``null`` fills the other columns with null; ``error`` fails."""
    split_too_many: Annotated[TooMany, BeforeValidator(trimmed)] = Field(
        default=TooMany.MERGE, title="More parts than columns"
    )
    """``merge`` leaves the rest unsplit in the last column, ``drop`` drops it, ``error`` fails."""
    split_missing: MissingPolicy = Field(default=OnMissing.ERROR, title="Records without the field")
    """``error`` fails; ``ignore`` treats the field as ``null``."""

    @field_validator("split_positions")
    @classmethod
    def _positions_to_split_at(cls, positions: list[int], info: ValidationInfo) -> list[int]:
        if info.data.get("split_mode") == SplitMode.POSITION and not positions:
            raise MissingSettingError("is required when splitMode is position")
        return positions

    @field_validator("split_into")
    @classmethod
    def _not_the_source(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("split_keep_source") and info.data.get("split_field") in names:
            raise ValueError("names the split field, which is kept (splitKeepSource)")
        return names

    def needs_input(self) -> bool:
        """Return that the node requires an input."""
        return True


_Splitter: TypeAlias = Callable[[str, int], list[str]]
"""Splits a string at a maximum number of positions."""


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="splitText")
def handle_split_text(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record of the list, with parts of a string as fields.

    Raises:
        NodeError: If the input is not records, the field is missing or not a string, the number of
            parts is wrong, or a new field exists already.
    """
    config = read_config(SplitTextConfig, node)
    splitter = _splitter(config)
    output = map_records(input_data, lambda record: _split(config, splitter, record))
    return {
        "success": True,
        "message": f"Field '{config.split_field}' split",
        "outputData": output,
    }


def _splitter(config: SplitTextConfig) -> _Splitter:
    if config.split_mode == SplitMode.WHITESPACE:
        return lambda text, limit: text.split(None, limit) or [""]
    if config.split_mode == SplitMode.POSITION:
        return lambda text, limit: _split_at(text, config.split_positions[:limit])
    longest_first = sorted(config.split_separator, key=len, reverse=True)
    separator = re.compile("|".join(map(re.escape, longest_first)))
    return separator.split


def _split_at(text: str, positions: list[int]) -> list[str]:
    inside = [position for position in positions if position < len(text)]
    return [text[start:end] for start, end in pairwise([0, *inside, len(text)])]


def _split(config: SplitTextConfig, splitter: _Splitter, record: Record) -> dict[str, JsonValue]:
    field = config.split_field
    if field not in record and config.split_missing == OnMissing.ERROR:
        raise _no_field(field, record)
    columns = _columns(config, splitter, record.get(field))
    output: dict[str, JsonValue] = {}
    for name, value in record.items():
        if name != field or config.split_keep_source:
            _add_field(output, name, value)
        if name == field:
            for column, part in columns.items():
                _add_field(output, column, part)
    if field not in record:
        for column, part in columns.items():
            _add_field(output, column, part)
    return output


def _add_field(record: dict[str, JsonValue], name: str, value: JsonValue) -> None:
    if name in record:
        raise NodeError(f"the output would have two fields '{name}'", retryable=False)
    record[name] = value


def _columns(
    config: SplitTextConfig, splitter: _Splitter, value: JsonValue
) -> Mapping[str, JsonValue]:
    """Return the new fields of one record, in their order."""
    names = config.split_into
    if value is None:
        return dict.fromkeys(names)
    parts = _parts(config, splitter, value)
    if not names:
        return {f"{config.split_field}_{i}": part for i, part in enumerate(parts, 1)}
    if len(parts) < len(names) and config.split_too_few == TooFew.ERROR:
        raise NodeError(
            f"field '{config.split_field}' has {len(parts)} of {len(names)} parts", retryable=False
        )
    return {**dict.fromkeys(names), **dict(zip(names, parts, strict=False))}


def _parts(config: SplitTextConfig, splitter: _Splitter, value: JsonValue) -> list[str]:
    if is_object(value) or is_list(value):
        raise NodeError(
            f"field '{config.split_field}' is of type {kind_of(value)}, not a string",
            retryable=False,
        )
    limit = len(config.split_into) or config.split_limit
    merges = config.split_too_many == TooMany.MERGE
    text = as_text(value)
    if merges:
        parts = splitter(text, limit - 1) if limit > 1 else [text]
    else:
        parts = splitter(text, limit)  # one part more, if the string has too many
    if len(parts) > limit:
        if config.split_too_many == TooMany.ERROR:
            raise NodeError(
                f"field '{config.split_field}' has more than {limit} parts", retryable=False
            )
        parts = parts[:limit]
    return [part.strip() for part in parts] if config.split_trim else parts


def _no_field(field: str, record: Record) -> NodeError:
    return NodeError(f"no field '{field}' (it has: {field_list(record)})", retryable=False)


class Renaming(FormModel, title="Name"):
    """One field with its new name."""

    old: FieldName = Field(title="From", alias="from", json_schema_extra=NO_TEMPLATE)
    """The current name."""
    new: FieldName = Field(title="To", alias="to", json_schema_extra=NO_TEMPLATE)
    """The new name."""


def _as_renamings(value: object) -> object:
    if isinstance(value, str):
        try:
            value = load_json(value)
        except ValueError:
            value = None
    if is_object(value):
        names = {old: new for old, new in value.items() if not (is_blank(old) and is_blank(new))}
        for old, new in names.items():
            if is_blank(new):
                raise ValueError(f"needs a new name for '{old}'")
        return [{"from": old, "to": new} for old, new in names.items()]
    if not is_list(value):
        raise ValueError("should be an object of old and new names, or a list of {from, to}")
    return without_blank_rows(Renaming, value)


_PLAIN_NAME: dict[str, JsonValue] = {"type": "string", **NO_TEMPLATE}
_FormNewName = Annotated[str, Field(title="To", json_schema_extra=NO_TEMPLATE)]
_FormRenamings = (
    Annotated[list[Renaming], Field(title="Rows", min_length=1, max_length=MAX_COLUMNS)]
    | Annotated[
        dict[str, _FormNewName],
        Field(
            title="Object",
            min_length=1,
            max_length=MAX_COLUMNS,
            json_schema_extra={"propertyNames": _PLAIN_NAME},
        ),
    ]
)


class RenameColumnsConfig(NodeConfig, title="Rename columns", category="data", pure=True):
    """Renames fields."""

    rename_mapping: Annotated[
        list[Renaming],
        BeforeValidator(_as_renamings, json_schema_input_type=_FormRenamings),
    ] = Field(title="Names", max_length=MAX_COLUMNS)
    """The new name of each field: an object ``{old: new}``, or ``[{from, to}]``."""
    rename_missing: MissingPolicy = Field(
        default=OnMissing.ERROR, title="Records without one of the fields"
    )
    """``error`` fails; ``ignore`` renames the other fields."""

    @field_validator("rename_mapping")
    @classmethod
    def _each_once(cls, renamings: list[Renaming]) -> list[Renaming]:
        if not renamings:
            raise MissingSettingError("should name at least one field")
        if twice := next(duplicates_everseen(renaming.old for renaming in renamings), None):
            raise ValueError(f"names '{twice}' twice")
        return renamings

    def needs_input(self) -> bool:
        """Return that the node requires an input."""
        return True


@task(name="renameColumns")
def handle_rename_columns(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record of the list, with new names in the same order.

    Raises:
        NodeError: If the input is not records, a field is missing, or two fields would have the
            same name.
    """
    config = read_config(RenameColumnsConfig, node)
    names = {renaming.old: renaming.new for renaming in config.rename_mapping}
    strict = config.rename_missing == OnMissing.ERROR
    output = map_records(input_data, lambda record: _renamed(names, record, strict=strict))
    return {"success": True, "message": "Columns renamed", "outputData": output}


def _renamed(names: Mapping[str, str], record: Record, *, strict: bool) -> dict[str, JsonValue]:
    if strict and (missing := next((name for name in names if name not in record), None)):
        raise _no_field(missing, record)
    renamed: dict[str, JsonValue] = {}
    for name, value in record.items():
        _add_field(renamed, names.get(name, name), value)
    return renamed
