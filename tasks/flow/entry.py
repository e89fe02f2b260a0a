"""Where a run begins and ends: trigger, webhook, manualInput, output, and the comment."""

# ruff: noqa: ARG001 - every handler takes a node and an input, whether it needs them or not

from typing import Any

from prefect import task

from engine.json_values import JsonValue, as_number
from tasks.config.base import read_config
from tasks.config.fields import ManualInputConfig


@task(name="trigger")
async def handle_trigger(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its payload on, ``{}`` when there is none."""
    payload: JsonValue = {} if input_data is None else input_data
    return {"success": True, "message": "Workflow triggered", "outputData": payload}


@task(name="webhook")
async def handle_webhook(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes on what was received, ``{}`` when it was nothing."""
    received: JsonValue = {} if input_data is None else input_data
    return {"success": True, "message": "Webhook received", "outputData": received}


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
