"""addField node: adds a field to an object, or to each record of a list."""

from typing import Annotated, Any, ClassVar

from prefect import task
from pydantic import AliasChoices, Field

from engine.json_values import JsonValue
from tasks.compute import computed, success
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
@computed
def handle_add_field(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of the object, or of each record of the list, with one more field.

    Raises a ``NodeError`` if the input is not records, or a field of a template is missing.
    """
    config = read_config(AddFieldConfig, node)
    data: JsonValue = {} if input_data is None else input_data
    name = config.add_field_name

    def with_field(record: Record) -> dict[str, JsonValue]:
        return {**record, name: fill("addFieldValue", config.add_field_value, record)}

    return success(f"Field '{name}' added", map_records(data, with_field))
