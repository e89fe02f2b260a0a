"""Entry and pass-through nodes: trigger, manualInput, output, comment and disabled nodes."""

# ruff: noqa: ARG001 - all handlers have the same parameters

from typing import Any, ClassVar

from prefect import task
from pydantic import AliasChoices, Field

from engine.json_values import JsonValue, as_number
from tasks.compute import success
from tasks.config.base import NodeConfig, read_config
from tasks.config.fields import LONG_TEXT


class TriggerConfig(NodeConfig, title="Trigger", category="start", inputs=(), pure=True):
    """Starts an execution and passes on its payload."""


class ManualInputConfig(NodeConfig, title="Manual input", category="start", inputs=(), pure=True):
    """A value of the workflow, or of the inputs of the execution."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"input_var_value"})

    input_var_name: str = Field(
        default="input",
        title="Name",
        validation_alias=AliasChoices("inputVarName", "manualInputVarName", "variableName"),
    )
    """The field of the output that contains the value."""
    input_var_value: JsonValue = Field(
        default=None,
        title="Value",
        validation_alias=AliasChoices("inputVarValue", "manualInputVarValue", "variableValue"),
    )
    """Any value; a numeric string becomes a number."""


class OutputConfig(NodeConfig, title="Output", category="end", pure=True):
    """Marks its input as the result of the execution."""


class CommentConfig(NodeConfig, title="Comment", category="note", pure=True):
    """A note in the editor; inside a path it passes on its input."""

    comment_text: str = Field(default="", title="Text", json_schema_extra=LONG_TEXT)
    """The text of the note."""


@task(name="trigger")
async def handle_trigger(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the payload, or ``{}``."""
    return success("Workflow triggered", {} if input_data is None else input_data)


@task(name="manualInput")
async def handle_manual_input(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return ``{name: value}``; a numeric string becomes a number."""
    config = read_config(ManualInputConfig, node)
    value = config.input_var_value
    if isinstance(value, str):
        number = as_number(value)
        value = value if number is None else number
    name = config.input_var_name
    return success(f"Input '{name}' set", {name: value})


@task(name="output")
async def handle_output(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input, marked as the result of the execution."""
    return success("Output reached", input_data, isFinal=True)


@task(name="comment")
async def handle_comment(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input."""
    return success("Comment passed", input_data)


@task(name="disabled")
async def handle_disabled(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input; replaces the handler of a disabled node."""
    return success("The node is disabled: its input passes through", input_data)
