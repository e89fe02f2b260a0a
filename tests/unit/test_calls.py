"""Subworkflow calls: valid calls, and the outcome of the node when its child has finished."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.errors import MAX_ERROR_CHARS, NodeError
from engine.json_values import JsonValue
from engine.outcome import Outcome
from engine.parking import ParkedNode, Resumption, park_error
from engine.status import NodeStatus
from engine.subworkflow_calls import ChildResult
from tasks.flow.subworkflow import SubworkflowConfig, handle_subworkflow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITS: dict[str, JsonValue] = {
    "success": True,
    "message": "Calls the workflow 'w'",
    "outputData": None,
    "park": {
        "call": {"workflowId": "w", "executionId": "c"},
        "until": (NOW + timedelta(seconds=5)).isoformat(),
        "fail": "too late",
    },
}


async def call(config: dict[str, Any], data: JsonValue = None) -> dict[str, Any]:
    return await handle_subworkflow.fn({"id": "n", "config": config}, data)


def ended(end: ChildResult) -> Outcome:
    return ParkedNode(WAITS, Resumption(child=end)).outcome()


def test_the_output_of_a_completed_child_is_the_output_of_the_node():
    outcome = ended(ChildResult("c", "Print", "completed", None, '{"pages": [1, 2]}'))
    assert outcome.status == NodeStatus.COMPLETED
    assert outcome.result == {
        "success": True,
        "message": "Subworkflow 'Print' completed",
        "childExecutionId": "c",
        "outputData": {"pages": [1, 2]},
    }


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (
            ChildResult("c", "Print", "failed", "out of paper"),
            "subworkflow 'Print' (execution c) failed: out of paper",
        ),
        (
            ChildResult("c", "Print", "failed"),
            "subworkflow 'Print' (execution c) failed: no reason is known",
        ),
        (ChildResult("c", "Print", "cancelled"), "subworkflow 'Print' (execution c) was cancelled"),
        (ChildResult("c", None, "failed", "gone"), "subworkflow (execution c) failed: gone"),
    ],
)
def test_a_child_that_did_not_complete_is_the_failure_of_the_node(end: ChildResult, error: str):
    assert ended(end) == Outcome(NodeStatus.ERROR, error=error)


def test_an_error_does_not_grow_without_end_from_child_to_parent():
    error = "x"
    for _ in range(100):
        error = ended(ChildResult("c", "w" * 500, "failed", error)).error or ""
    assert len(error) < MAX_ERROR_CHARS + 100


def test_the_result_of_a_child_survives_storage():
    said = Resumption(child=ChildResult("c", "Print", "failed", "out of paper", None))
    assert Resumption.from_json(said.as_json()) == said


def test_a_node_gives_its_child_up_only_where_that_has_not_ended():
    waits = ParkedNode(WAITS)
    assert waits.child_id == "c"
    assert not waits.is_due(NOW)
    assert waits.is_due(NOW + timedelta(seconds=5))
    assert waits.outcome() == Outcome(NodeStatus.ERROR, error="too late")
    heard = ParkedNode(WAITS, Resumption(child=ChildResult("c", "W", "completed", None, "1")))
    assert heard.child_id is None
    assert ParkedNode({"outputData": 1, "park": {}}).child_id is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("w", "'park.call' should be an object, not of type string"),
        ({}, "'park.call' should have a 'workflowId' that is a string"),
        ({"workflowId": 7}, "'park.call' should have a 'workflowId' that is a string"),
        ({"workflowId": "a\0b"}, "'park.call' should have a 'workflowId' that is a string"),
        (
            {"workflowId": "w", "inputs": [1]},
            "'park.call' should have 'inputs' that are an object, not of type list",
        ),
        ({"workflowId": "w", "inputs": {}}, None),
        ({"workflowId": "w", "payload": [1]}, None),
        (None, None),
    ],
)
def test_an_invalid_call_does_not_park_the_node(asked: JsonValue, reason: str | None):
    assert park_error({"park": {"call": asked}}) == reason


async def test_without_inputs_the_input_of_the_node_is_the_payload():
    result = await call({"subworkflowId": " w "}, [1, 2])
    assert result["park"] == {"call": {"workflowId": "w", "payload": [1, 2]}}


async def test_inputs_are_filled_from_the_input_of_the_node():
    config = {"subworkflowId": "w", "subworkflowInputs": {"to": "{{ name }}", "all": "{{ input }}"}}
    result = await call(config, {"name": "Ada"})
    inputs = {"to": "Ada", "all": {"name": "Ada"}}
    assert result["park"] == {"call": {"workflowId": "w", "inputs": inputs}}


async def test_a_time_limit_is_the_child_s():
    before = datetime.now(UTC)
    park = (await call({"subworkflowId": "w", "timeoutSeconds": 60}))["park"]
    until = datetime.fromisoformat(park["until"])
    assert timedelta(seconds=59) < until - before < timedelta(seconds=70)
    assert park["fail"] == "subworkflow 'w' did not end within 60 s, and was cancelled"


async def test_a_field_that_is_missing_fails_without_another_attempt():
    with pytest.raises(NodeError, match="subworkflowInputs") as failure:
        await call({"subworkflowId": "w", "subworkflowInputs": {"to": "{{ missing }}"}}, {})
    assert failure.value.retryable is False


@pytest.mark.parametrize(
    "config",
    [
        {"subworkflowId": "w"},
        {"workflowId": "w"},
        {"subworkflowId": "", "workflowId": "w"},
        {"subworkflowId": "w", "workflowId": "other", "subworkflowInputs": ""},
        {"subworkflowId": "w", "timeoutSeconds": ""},
    ],
)
def test_both_spellings_and_empty_fields_are_taken(config: dict[str, Any]):
    assert SubworkflowConfig.model_validate(config).subworkflow_id == "w"
