"""splitColumns node: sends some columns of every record to output A, and some to output B."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from pydantic import Field, ValidationInfo, field_validator

from engine.data_flow import PORT_DATA
from engine.json_values import JsonValue, Missing, lookup
from engine.ports import ports_of
from offload import check_stop
from tasks.compute import success
from tasks.config.base import MissingSettingError, read_config
from tasks.config.fields import FieldNames
from tasks.records.records import (
    MissingPolicy,
    OutputLimit,
    Record,
    RecordsConfig,
    as_records,
    require_fields,
)

_SOME: dict[str, Any] = {"type": "array", "minItems": 1}
_COLUMNS_REQUIRED: dict[str, Any] = {
    "if": {"not": {"properties": {"columnsOutputA": _SOME}, "required": ["columnsOutputA"]}},
    "then": {"properties": {"columnsOutputB": _SOME}, "required": ["columnsOutputB"]},
}
_HALVES = tuple(replace(port, passes_when_disabled=True) for port in ports_of("A", "B"))


class SplitColumnsConfig(
    RecordsConfig,
    title="Split columns",
    outputs=_HALVES,
    pure=True,
    json_schema_extra=_COLUMNS_REQUIRED,
):
    """Sends some columns of every record to output A, and some to output B."""

    columns_output_a: FieldNames = Field(default_factory=list[str], title="Columns of output A")
    """The columns of output A; ``a.b`` is a nested field. Without columns the output is dead."""
    columns_output_b: FieldNames = Field(
        default_factory=list[str], title="Columns of output B", validate_default=True
    )
    """The columns of output B; a column may be in both."""
    columns_missing: MissingPolicy = Field(default="error", title="Columns that no record has")
    """``error`` fails; ``ignore`` omits the column."""

    @field_validator("columns_output_b")
    @classmethod
    def _some_columns(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if not names and info.data.get("columns_output_a") == []:
            raise MissingSettingError("or columnsOutputA is required")
        return names


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="splitColumns")
def handle_split_columns(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return ``{"A": …, "B": …}``: the columns of the object, or of each record of the list.

    Raises a ``NodeError`` if the input is not records, or no record has a column.
    """
    config = read_config(SplitColumnsConfig, node)
    records = as_records(input_data)
    names = {"A": config.columns_output_a, "B": config.columns_output_b}
    if config.columns_missing == "error":
        require_fields(records, [name for columns in names.values() for name in columns])
    size = OutputLimit()
    output: dict[str, JsonValue] = {
        port: _selected(records, columns, size) for port, columns in names.items() if columns
    }
    if isinstance(input_data, Mapping):
        output = {port: selected[0] for port, selected in output.items()}
    return success(f"Columns of {len(records)} records split", output, **{PORT_DATA: True})


def _selected(
    records: Sequence[Record], columns: Sequence[str], size: OutputLimit
) -> list[JsonValue]:
    selected: list[JsonValue] = []
    for record in records:
        check_stop()
        values = {column: lookup(record, column) for column in columns}
        part: JsonValue = {
            column: value for column, value in values.items() if not isinstance(value, Missing)
        }
        size.add(part)
        selected.append(part)
    return selected
