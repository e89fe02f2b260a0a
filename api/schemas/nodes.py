"""Node schemas: the catalog of node types, and runs of a single node."""

from typing import Any

from pydantic import Field

from api.schemas.base import ApiModel, Name, RequestModel


class NodeExecuteRequest(RequestModel):
    """A single node to run immediately. ``node`` is the node of the editor."""

    workflow_id: Name
    node_id: Name
    node_type: Name
    node: dict[str, Any]
    input_data: Any = None


class NodeExecuteResponse(ApiModel):
    """The output of the node, or its error."""

    success: bool
    node_id: str
    node_type: str
    output: dict[str, Any] | None = None
    message: str | None = None
    error: str | None = None


class PortResponse(ApiModel):
    """A port of a node type."""

    name: str
    title: str
    aliases: list[str] = Field(
        description="Other names that connections may use. Upper and lower case are equal."
    )


class PortsResponse(ApiModel):
    """The inputs and outputs of a node type."""

    inputs: list[PortResponse]
    outputs: list[PortResponse] = Field(description="With `error`, which every type has.")


class NodeTypeResponse(ApiModel):
    """A node type: its presentation in the editor, and the form of its config."""

    type: str
    title: str
    description: str
    category: str
    inputs: list[str]
    outputs: list[str]
    ports: PortsResponse = Field(description="The same ports with their titles and aliases.")
    config_schema: dict[str, Any] = Field(
        serialization_alias="schema", description="JSON Schema draft-07."
    )
    ui_schema: dict[str, Any] = Field(description="Hints for react-jsonschema-form.")
    defaults: dict[str, Any] = Field(description="The values of fields that are not set.")
    secret_fields: list[str] = Field(
        description="JSON pointers into a config; `*` stands for every item."
    )
    disabled_reason: str | None = Field(
        description="Why this service rejects workflows with the type; null if it does not."
    )
