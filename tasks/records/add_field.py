"""addField node: adds a field to an object, or to each record of a list."""

from typing import Annotated, Any, ClassVar

from prefect import task
from pydantic import AliasChoices, Field

from engine.json_values import JsonValue
from tasks.compute import compute
from tasks.config.base import TEMPLATED, NodeConfig, fill, read_config
from tasks.records.records import Record, map_records


class AddFieldConfig(NodeConfig, title="Add field", category="data", pure=True):
    """Adds a field to the input, or to each record of a list."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"add_field_value"})

    add_field_name: str = Field(
        default="newField",
        title="Name",
        validation_alias=AliasChoices("addFieldName", "fieldName"),
    )
    """The name of the field, without templates."""
    add_field_value: Annotated[JsonValue, TEMPLATED] = Field(
        default=None, title="Value", validation_alias=AliasChoices("addFieldValue", "fieldValue")
    )
    """Any value; may contain templates over the record."""


@task(name="addField")
async def handle_add_field(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record of the list, with one more field.

    Raises:
        NodeError: If the input is not records, or a field of a template is missing.
    """
    return await compute((node, input_data), _add_field, node, input_data)


def _add_field(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(AddFieldConfig, node)
    data: JsonValue = {} if input_data is None else input_data
    output = map_records(data, lambda record: _with_field(config, record))
    return {
        "success": True,
        "message": f"Field '{config.add_field_name}' added",
        "outputData": output,
    }


def _with_field(config: AddFieldConfig, record: Record) -> dict[str, JsonValue]:
    value = fill("addFieldValue", config.add_field_value, record)
    return {**record, config.add_field_name: value}
