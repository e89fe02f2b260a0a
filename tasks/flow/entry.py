"""Where a run begins and ends: trigger, webhook, manualInput, output, and the comment."""

# ruff: noqa: ARG001 - every handler takes a node and an input, whether it needs them or not

from typing import Any, ClassVar

from prefect import task
from pydantic import AliasChoices, Field

from engine.json_values import JsonValue, as_number
from tasks.config.base import NodeConfig, read_config
from tasks.config.fields import LONG_TEXT


class TriggerConfig(NodeConfig, title="Trigger", category="start", inputs=()):
    """Starts a run and passes the payload on."""


class ManualInputConfig(NodeConfig, title="Manual input", category="start", inputs=()):
    """A value typed into the workflow, or given with the execution."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"input_var_value"})

    input_var_name: str = Field(
        default="input",
        title="Name",
        validation_alias=AliasChoices("inputVarName", "manualInputVarName", "variableName"),
    )
    """The field of the output that holds the value."""
    input_var_value: JsonValue = Field(
        default=None,
        title="Value",
        validation_alias=AliasChoices("inputVarValue", "manualInputVarValue", "variableValue"),
    )
    """Any value; a text that is a number becomes that number."""


class OutputConfig(NodeConfig, title="Output", category="end"):
    """Marks its input as the result of the run."""


class CommentConfig(NodeConfig, title="Comment", category="note"):
    """A note in the editor; inside a path it passes its input on."""

    comment_text: str = Field(default="", title="Text", json_schema_extra=LONG_TEXT)
    """What the note says."""


@task(name="trigger")
async def handle_trigger(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its payload on, ``{}`` when there is none."""
    payload: JsonValue = {} if input_data is None else input_data
    return {"success": True, "message": "Workflow triggered", "outputData": payload}


@task(name="manualInput")
async def handle_manual_input(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """``{name: value}``; a text that is a number becomes that number."""
    config = read_config(ManualInputConfig, node)
    value = config.input_var_value
    if isinstance(value, str):
        number = as_number(value)
        value = value if number is None else number
    name = config.input_var_name
    return {"success": True, "message": f"Input '{name}' set", "outputData": {name: value}}


@task(name="output")
async def handle_output(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its input on, marked as the result of the run."""
    return {
        "success": True,
        "message": "Output reached",
        "outputData": input_data,
        "isFinal": True,
    }


@task(name="comment")
async def handle_comment(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its input on."""
    return {"success": True, "message": "Comment passed", "outputData": input_data}


@task(name="disabled")
async def handle_disabled(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its input on, in place of the handler of a node that is disabled."""
    return {
        "success": True,
        "message": "The node is disabled: its input passes through",
        "outputData": input_data,
    }
