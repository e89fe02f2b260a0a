"""Node type registry: built-in and custom types, checks and retries."""

from typing import Any

import pytest
from prefect import task

from engine.document import Node
from engine.errors import UnknownNodeTypeError
from engine.options import NodeOptions
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import DEFAULT, NodeTypes, RetryPolicy


@task(name="my_custom_node", retries=3)
async def handle_custom_node(
    node: dict[str, Any], input_data: dict[str, Any] | None
) -> dict[str, Any]:
    return {"success": True, "message": "Custom node executed", "outputData": input_data}


@pytest.fixture
def types() -> NodeTypes:
    return NodeTypes({**NODE_HANDLERS, "customNode": handle_custom_node}, NODE_CONFIGS)


def policy(types: NodeTypes, node_type: str, **config: Any) -> RetryPolicy:
    return types.retry_policy(node_type, NodeOptions.model_validate(config))


def test_the_known_types_are_sorted(types: NodeTypes):
    assert types.known == sorted([*NODE_HANDLERS, "customNode"])


@pytest.mark.parametrize(
    "node_type",
    [
        "trigger",
        "manualInput",
        "output",
        "http",
        "llm",
        "condition",
        "addField",
        "join",
        "webhook",
        "schedule",
        "comment",
    ],
)
def test_a_type_of_the_contract_has_a_handler_named_after_it(node_type: str):
    assert DEFAULT.handler(node_type) is NODE_HANDLERS[node_type]
    assert DEFAULT.handler(node_type).name == node_type


def test_an_unknown_type_is_an_error_that_names_the_known_ones(types: NodeTypes):
    with pytest.raises(UnknownNodeTypeError, match=r"'nope'.*addField.*webhook"):
        types.handler("nope")


async def test_a_custom_type_needs_nothing_but_a_task_in_the_registry(types: NodeTypes):
    handler = types.handler("customNode")
    assert handler is handle_custom_node
    assert (await handler.fn({"config": {}}, {"a": 1}))["outputData"] == {"a": 1}


def test_the_default_registry_contains_types_that_are_added_later(monkeypatch: pytest.MonkeyPatch):
    assert "customNode" not in DEFAULT.known
    monkeypatch.setitem(NODE_HANDLERS, "customNode", handle_custom_node)
    assert "customNode" in DEFAULT.known
    assert DEFAULT.handler("customNode") is handle_custom_node


def test_a_type_without_a_config_model_is_checked_for_the_common_options(types: NodeTypes):
    config = {"retries": 99, "anything": ["goes"]}
    node = Node("n/1", "customNode", "N", config, "/nodes/3", "/nodes/3/data")
    [problem] = types.check(node)
    assert problem.pointer == "/nodes/3/data/retries"
    assert problem.node_id == "n/1"
    assert "'retries' should be less than or equal to 10" in problem.detail


@pytest.mark.parametrize(
    ("config", "retries", "delays"),
    [
        ({}, 2, [1, 2]),
        ({"retries": 0}, 0, []),
        ({"retries": 4}, 4, [1, 2, 4, 8]),
        ({"retries": 3, "retryDelaySeconds": 5}, 3, [5, 10, 20]),
        ({"retries": 3, "retryDelaySeconds": 0}, 3, [0, 0, 0]),
        ({"retryDelaySeconds": 5, "retryBackoff": "fixed"}, 2, [5, 5]),
        ({"retries": 3, "retryDelaySeconds": 1000}, 3, [1000, 2000, 3600]),
        ({"retries": 2, "retryDelaySeconds": 7200}, 2, [7200, 7200]),
    ],
)
@pytest.mark.parametrize("node_type", ["http", "llm"])
def test_http_and_llm_retry_twice_with_exponential_backoff_by_default(
    types: NodeTypes, node_type: str, config: dict[str, Any], retries: int, delays: list[float]
):
    assert policy(types, node_type, **config) == RetryPolicy(retries, delays)


@pytest.mark.parametrize(
    ("config", "retries", "delays"),
    [
        ({}, None, []),
        ({"retries": 2}, 2, [1, 1]),
        ({"retries": 2, "retryBackoff": "exponential"}, 2, [1, 2]),
        ({"retries": 2, "retryDelaySeconds": 0.5}, 2, [0.5, 0.5]),
        ({"retries": 2, "retryDelaySeconds": 86_400}, 2, [86_400, 86_400]),
    ],
)
@pytest.mark.parametrize("node_type", ["addField", "condition", "customNode"])
def test_other_types_retry_as_their_options_or_their_task_declare(
    types: NodeTypes, node_type: str, config: dict[str, Any], retries: int, delays: list[float]
):
    assert policy(types, node_type, **config) == RetryPolicy(retries, delays)


def test_a_delay_alone_is_used_with_the_retries_of_the_task(types: NodeTypes):
    assert policy(types, "customNode", retryDelaySeconds=4) == RetryPolicy(3, [4, 4, 4])
    assert policy(types, "addField", retryDelaySeconds=4) == RetryPolicy(0, [])
