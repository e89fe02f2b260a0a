"""splitText and renameColumns nodes: split or rename the columns of records."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from more_itertools import duplicates_everseen
from prefect import task
from pydantic import AliasChoices, BeforeValidator, Field, ValidationInfo, field_validator

from engine.errors import NodeError, PermanentError
from engine.json_values import (
    JsonValue,
    as_text,
    describe_fields,
    is_blank,
    is_list,
    is_object,
    kind_of,
    structure_of,
)
from tasks.compute import success
from tasks.config.base import FormModel, MissingSettingError, read_config
from tasks.config.fields import NO_TEMPLATE, FieldName, FieldNames, trimmed
from tasks.config.rows import without_blank_rows
from tasks.records.records import MissingPolicy, Record, RecordsConfig, map_records

MAX_COLUMNS = 1_000
"""Maximum number of columns from one string; more usually mean the wrong separator."""


def _as_separator(value: object) -> object:
    """Return a string with tabs and new lines, which the text field of a form does not accept."""
    if value is None or value == "":
        return ","
    return value.replace("\\t", "\t").replace("\\n", "\n") if isinstance(value, str) else value


class SplitTextConfig(RecordsConfig, title="Split text", pure=True):
    """Splits the string in one field into several fields."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"split_separator"})

    split_field: FieldName = Field(
        title="Field",
        validation_alias=AliasChoices("splitField", "splitColumn"),
        json_schema_extra=NO_TEMPLATE,
    )
    """The field of the record whose string is split."""
    split_mode: Annotated[Literal["separator", "whitespace"], BeforeValidator(trimmed)] = Field(
        default="separator", title="Split at"
    )
    """At a ``separator``, or at runs of ``whitespace``."""
    split_separator: Annotated[str, BeforeValidator(_as_separator)] = Field(
        default=",", title="Separator"
    )
    """The string between two parts; ``\\t`` is a tab, ``\\n`` a new line."""
    split_keep_source: bool = Field(default=True, title="Keep the source")
    """Whether the record keeps the field that was split."""
    split_into: FieldNames = Field(
        default_factory=list[str],
        title="Into",
        max_length=MAX_COLUMNS,
        json_schema_extra={"maxItems": MAX_COLUMNS},
    )
    """The names of the new fields; by default ``field_1``, ``field_2``, …"""
    split_trim: bool = Field(default=True, title="Trim")
    """Whether the spaces around each part are removed."""
    split_too_few: Annotated[Literal["null", "error"], BeforeValidator(trimmed)] = Field(
        default="null", title="Fewer parts than names"
    )
    """``null`` fills the other columns with null; ``error`` fails."""
    split_too_many: Annotated[Literal["merge", "drop", "error"], BeforeValidator(trimmed)] = Field(
        default="merge", title="More parts than columns"
    )
    """``merge`` leaves the rest unsplit in the last column, ``drop`` drops it, ``error`` fails."""
    split_missing: MissingPolicy = Field(default="error", title="Records without the field")
    """``error`` fails; ``ignore`` treats the field as ``null``."""

    @field_validator("split_into")
    @classmethod
    def _not_the_source(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("split_keep_source") and info.data.get("split_field") in names:
            raise ValueError("names the split field, which is kept (splitKeepSource)")
        return names


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="splitText")
def handle_split_text(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record, with parts of a string as fields.

    Raises a ``NodeError`` if the input is not records, the field is missing or not a string, the
    number of parts is wrong, or a new field exists already.
    """
    config = read_config(SplitTextConfig, node)
    output = map_records(input_data, lambda record: _split(config, record))
    return success(f"Field '{config.split_field}' split", output)


def _split(config: SplitTextConfig, record: Record) -> dict[str, JsonValue]:
    field = config.split_field
    if field not in record and config.split_missing == "error":
        raise _no_field(field, record)
    columns = _columns(config, record.get(field))
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
        raise PermanentError(f"the output would have two fields '{name}'")
    record[name] = value


def _columns(config: SplitTextConfig, value: JsonValue) -> Mapping[str, JsonValue]:
    """Return the new fields of one record, in their order."""
    names = config.split_into
    if value is None:
        return dict.fromkeys(names)
    parts = _parts(config, value)
    if not names:
        return {f"{config.split_field}_{i}": part for i, part in enumerate(parts, 1)}
    if len(parts) < len(names) and config.split_too_few == "error":
        raise PermanentError(f"field '{config.split_field}' has {len(parts)} of {len(names)} parts")
    return {**dict.fromkeys(names), **dict(zip(names, parts, strict=False))}


def _parts(config: SplitTextConfig, value: JsonValue) -> list[str]:
    if is_object(value) or is_list(value):
        raise PermanentError(
            f"field '{config.split_field}' is of type {kind_of(value)}, not a string"
        )
    limit = len(config.split_into) or MAX_COLUMNS
    merges = config.split_too_many == "merge"
    separator = None if config.split_mode == "whitespace" else config.split_separator
    # Unless the rest is merged, one part more, if the string has too many.
    parts = as_text(value).split(separator, limit - 1 if merges else limit) or [""]
    if len(parts) > limit:
        if config.split_too_many == "error":
            raise PermanentError(f"field '{config.split_field}' has more than {limit} parts")
        parts = parts[:limit]
    return [part.strip() for part in parts] if config.split_trim else parts


def _no_field(field: str, record: Record) -> NodeError:
    return PermanentError(f"no field '{field}' ({describe_fields(record)})")


class Renaming(FormModel, title="Name"):
    """One field with its new name."""

    old: FieldName = Field(title="From", alias="from", json_schema_extra=NO_TEMPLATE)
    """The current name."""
    new: FieldName = Field(title="To", alias="to", json_schema_extra=NO_TEMPLATE)
    """The new name."""


def _as_renamings(value: object) -> object:
    value = structure_of(value)
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


class RenameColumnsConfig(RecordsConfig, title="Rename columns", pure=True):
    """Renames fields."""

    rename_mapping: Annotated[
        list[Renaming],
        BeforeValidator(_as_renamings, json_schema_input_type=_FormRenamings),
    ] = Field(title="Names", max_length=MAX_COLUMNS)
    """The new name of each field: an object ``{old: new}``, or ``[{from, to}]``."""
    rename_missing: MissingPolicy = Field(
        default="error", title="Records without one of the fields"
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


@task(name="renameColumns")
def handle_rename_columns(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record, with new names in the same order.

    Raises a ``NodeError`` if the input is not records, a field is missing, or two fields would have
    the same name.
    """
    config = read_config(RenameColumnsConfig, node)
    names = {renaming.old: renaming.new for renaming in config.rename_mapping}
    strict = config.rename_missing == "error"
    output = map_records(input_data, lambda record: _renamed(names, record, strict=strict))
    return success("Columns renamed", output)


def _renamed(names: Mapping[str, str], record: Record, *, strict: bool) -> dict[str, JsonValue]:
    if strict and (missing := next((name for name in names if name not in record), None)):
        raise _no_field(missing, record)
    renamed: dict[str, JsonValue] = {}
    for name, value in record.items():
        _add_field(renamed, names.get(name, name), value)
    return renamed
