"""Entry and pass-through nodes: trigger, webhook, manualInput, output, comment."""

import copy
import inspect
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS


async def run(node_type: str, config: dict[str, Any] | None = None, data: Any = None) -> Any:
    node = {"id": "n", "type": node_type, "label": "N", "config": config or {}}
    result = NODE_HANDLERS[node_type].fn(node, data)
    return await result if inspect.isawaitable(result) else result


PAYLOADS = [{"a": 1}, [1, 2], "text", 0, False, "", []]


@pytest.mark.parametrize("node_type", ["trigger", "webhook", "schedule"])
@pytest.mark.parametrize("payload", PAYLOADS)
async def test_an_entry_node_passes_its_payload_on(node_type: str, payload: Any):
    result = await run(node_type, data=payload)
    assert result["success"] is True
    assert result["outputData"] == payload
    assert result["message"]


@pytest.mark.parametrize("node_type", ["trigger", "webhook"])
async def test_an_entry_node_without_a_payload_returns_an_empty_object(node_type: str):
    assert (await run(node_type))["outputData"] == {}


@pytest.mark.parametrize(
    ("config", "output"),
    [
        ({"inputVarName": "x", "inputVarValue": "v"}, {"x": "v"}),
        ({"manualInputVarName": "x", "manualInputVarValue": "v"}, {"x": "v"}),
        ({"variableName": "x", "variableValue": "v"}, {"x": "v"}),
        # the first alias takes precedence
        ({"inputVarName": "a", "manualInputVarName": "b", "variableName": "c"}, {"a": None}),
        ({"manualInputVarName": "b", "variableName": "c"}, {"b": None}),
        ({"inputVarValue": 1, "manualInputVarValue": 2, "variableValue": 3}, {"input": 1}),
        ({"manualInputVarValue": 2, "variableValue": 3}, {"input": 2}),
        # also if it is null or blank and the editor filled another one
        ({"inputVarValue": None, "variableValue": "kept"}, {"input": None}),
        ({"inputVarValue": "", "variableValue": "kept"}, {"input": ""}),
        # a blank name counts as not set, so the next alias is used
        ({"inputVarName": " ", "variableName": "c", "inputVarValue": "v"}, {"c": "v"}),
        ({"inputVarName": "", "inputVarValue": "v"}, {"input": "v"}),
        ({}, {"input": None}),
        # a numeric string becomes a number
        ({"inputVarValue": "25"}, {"input": 25}),
        ({"inputVarValue": " -1.5e1 "}, {"input": -15.0}),
        ({"inputVarValue": "007"}, {"input": "007"}),
        ({"inputVarValue": "nan"}, {"input": "nan"}),
        # any JSON value is accepted
        ({"inputVarValue": {"a": ["1"]}}, {"input": {"a": ["1"]}}),
        ({"inputVarValue": False}, {"input": False}),
        ({"inputVarValue": "{{ not.a.template }}"}, {"input": "{{ not.a.template }}"}),
    ],
)
async def test_manual_input_makes_an_object_of_name_and_value(
    config: dict[str, Any], output: dict[str, Any]
):
    result = await run("manualInput", config)
    assert result["outputData"] == output
    assert result["success"] is True


async def test_manual_input_keeps_integers():
    value = (await run("manualInput", {"inputVarValue": "25"}))["outputData"]["input"]
    assert type(value) is int


async def test_an_invalid_config_error_names_the_setting():
    with pytest.raises(NodeError, match="'manualInputVarName' should be a string") as raised:
        await run("manualInput", {"manualInputVarName": ["x"]})
    assert not raised.value.retryable


@pytest.mark.parametrize("data", [{"a": 1}, [], None, "x"])
async def test_output_passes_its_input_on_and_marks_it_as_final(data: Any):
    result = await run("output", data=data)
    assert result["outputData"] == data
    assert result["isFinal"] is True


@pytest.mark.parametrize("data", [{"a": 1}, [], None])
async def test_a_comment_passes_its_input_on(data: Any):
    result = await run("comment", {"commentText": "why"}, data)
    assert result["outputData"] == data
    assert "isFinal" not in result


async def test_a_node_without_a_config_runs_on_defaults():
    result = await NODE_HANDLERS["manualInput"].fn({"id": "n", "type": "manualInput"}, None)
    assert result["outputData"] == {"input": None}


@pytest.mark.parametrize(
    ("node_type", "config", "data"),
    [
        ("trigger", {}, {"a": [1]}),
        ("output", {}, {"a": [1]}),
        ("comment", {}, {"a": [1]}),
        ("webhook", {}, {"a": [1]}),
        ("condition", {"conditionField": "a", "processingMode": "perRow"}, [{"a": 1}, {"a": 2}]),
        ("addField", {"addFieldName": "b", "addFieldValue": "{{ a }}"}, [{"a": 1}, {"a": 2}]),
        ("addField", {"addFieldName": "a", "addFieldValue": 2}, {"a": 1}),
        ("join", {"joinStrategy": "mergeByKey", "joinKey": "k"}, {"A": [{"k": 1}], "B": {"k": 1}}),
        ("join", {}, {"A": [{"k": 1}], "B": {"k": 1}}),
    ],
)
async def test_no_handler_changes_its_input_or_its_config(
    node_type: str, config: dict[str, Any], data: Any
):
    before = copy.deepcopy((config, data))
    await run(node_type, config, data)
    assert (config, data) == before
