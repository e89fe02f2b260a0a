"""Node configs: accepted values, and the errors for invalid ones."""

import json
from typing import Any

import pytest

from engine.document import Node
from tasks.config.json_schema import describe_config
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import DEFAULT

HTTP = {"httpUrl": "https://example.com"}
LLM = {"llmPrompt": "hi"}
CONDITION = {"conditionField": "a"}
EVERY = {"scheduleEverySeconds": 60}


def check(node_type: str, config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pointer and detail of every problem."""
    node = Node("n1", node_type, "N", config, "/nodes/0", "/nodes/0/config")
    problems = DEFAULT.check(node)
    assert all((p.code, p.node_id) == ("invalid_config", "n1") for p in problems)
    return [(p.pointer.removeprefix("/nodes/0/config/"), p.detail) for p in problems]


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("trigger", {}),
    ("trigger", {"anything": {"else": 1}}),
    ("output", {"retries": "3", "timeoutSeconds": " 1.5 ", "onError": ""}),
    ("comment", {"commentText": "x"}),
    ("webhook", {"webhookToken": "", "webhookSecret": None}),
    ("manualInput", {"inputVarName": None, "inputVarValue": {"a": 1}}),
    ("http", HTTP),
    ("http", {"httpUrl": " http://localhost:8080/a?b=c "}),
    ("http", {"httpUrl": " {{ links.stock }} "}),
    ("http", {"httpUrl": "https://{{ user }}@example.com:{{ port }}/{{ a }}?b={{ c }}#{{ d }}"}),
    ("http", {**HTTP, "httpMethod": "post", "httpResponseType": None}),
    ("http", {**HTTP, "httpHeaders": "", "httpQuery": None, "httpBody": ""}),
    ("http", {**HTTP, "httpHeaders": [], "httpQuery": {}}),
    ("http", {**HTTP, "httpHeaders": [{"key": 5, "value": {"a": 1}}, {}]}),
    ("http", {**HTTP, "httpAuth": {"type": "bearer", "token": "{{ t }}"}}),
    ("http", {**HTTP, "httpAuth": {"type": "basic", "username": "u", "password": ""}}),
    ("http", {**HTTP, "httpAuth": {"type": "none", "token": ""}}),
    ("llm", LLM),
    ("llm", {"prompt": "hi"}),
    ("llm", {"llmPrompt": " ", "prompt": "hi"}),
    ("llm", {**LLM, "llmTemperature": "0.7", "llmMaxTokens": "100", "llmIncludeInput": "false"}),
    ("llm", {**LLM, "llmTemperature": "", "llmMaxTokens": None, "enumOptions": None}),
    ("llm", {**LLM, "outputType": "enum", "enumOptions": ["a"]}),
    ("llm", {**LLM, "outputType": "enum", "enumOptions": "a,\n b,,"}),
    ("llm", {**LLM, "outputType": "enum", "enumOptions": [1, 2]}),
    ("llm", {**LLM, "outputType": "text", "enumOptions": []}),
    ("condition", CONDITION),
    ("condition", {"conditionField": 0}),
    ("condition", {**CONDITION, "conditionOperator": "greater_than", "logicalOperator": "or"}),
    ("condition", {**CONDITION, "additionalConditions": [{"field": "b", "operator": ""}]}),
    ("condition", {**CONDITION, "additionalConditions": None, "conditionValue": "{{ b }}"}),
    ("addField", {}),
    ("addField", {"addFieldName": "", "addFieldValue": "{{ x }}"}),
    ("schedule", {"scheduleCron": " 0 9 * * MON-FRI ", "scheduleTimezone": "Europe/Berlin"}),
    ("schedule", {"scheduleEverySeconds": "90", "scheduleCron": "", "scheduleOverlap": " Queue "}),
    ("schedule", {"scheduleEverySeconds": 1, "scheduleJitterSeconds": 3_600}),
    ("join", {}),
    ("join", {"joinStrategy": "concat", "joinKey": ""}),
    ("join", {"joinStrategy": "mergeByKey", "joinKey": "id", "joinType": ""}),
]


@pytest.mark.parametrize(("node_type", "config"), ACCEPTED)
def test_a_valid_config_is_accepted(node_type: str, config: dict[str, Any]):
    assert check(node_type, config) == []


INVALID: list[tuple[str, dict[str, Any], str, str]] = [
    ("schedule", {}, "scheduleEverySeconds", "or scheduleCron is required"),
    ("schedule", {"scheduleCron": "* *"}, "scheduleCron", "should have 5 fields, not 2"),
    ("schedule", {"scheduleEverySeconds": 0}, "scheduleEverySeconds", "greater than or equal to 1"),
    ("schedule", {"scheduleEverySeconds": 1.5}, "scheduleEverySeconds", "whole number"),
    ("schedule", {**EVERY, "scheduleTimezone": "Mars"}, "scheduleTimezone", "a time zone such as"),
    ("schedule", {**EVERY, "scheduleJitterSeconds": 3_601}, "scheduleJitterSeconds", "3600"),
    ("schedule", {**EVERY, "scheduleOverlap": "no"}, "scheduleOverlap", "'skip', 'queue'"),
    ("schedule", {**EVERY, "scheduleMisfire": "no"}, "scheduleMisfire", "'skip', 'once'"),
    ("http", {}, "httpUrl", "'httpUrl' is required"),
    ("http", {"httpUrl": "  "}, "httpUrl", "'httpUrl' is required"),
    ("http", {"httpUrl": "example.com"}, "httpUrl", "'httpUrl' should start with http://"),
    ("http", {"httpUrl": "ftp://x"}, "httpUrl", "'httpUrl' should start with http://"),
    ("http", {"httpUrl": "https://"}, "httpUrl", "'httpUrl' should contain a valid host name"),
    ("http", {"httpUrl": ["x"]}, "httpUrl", "'httpUrl' should be a string, not of type list"),
    ("http", {**HTTP, "httpMethod": "FETCH"}, "httpMethod", "should be 'GET', 'POST', 'PUT'"),
    ("http", {**HTTP, "httpHeaders": "a: b"}, "httpHeaders", "should be an object or a list"),
    ("http", {**HTTP, "httpHeaders": 5}, "httpHeaders", "should be an object or a list"),
    ("http", {**HTTP, "httpQuery": ["a"]}, "httpQuery/0", "'httpQuery.0' should be an object"),
    ("http", {**HTTP, "httpResponseType": "xml"}, "httpResponseType", "should be 'auto', 'json'"),
    (
        "http",
        {**HTTP, "httpAuth": {"type": "bearer"}},
        "httpAuth/token",
        "'httpAuth.token' is required",
    ),
    (
        "http",
        {**HTTP, "httpAuth": {"type": "basic", "username": " "}},
        "httpAuth/username",
        "'httpAuth.username' is required",
    ),
    (
        "http",
        {**HTTP, "httpAuth": {"type": "header", "name": "X"}},
        "httpAuth/value",
        "'httpAuth.value' is required",
    ),
    (
        "http",
        {**HTTP, "httpAuth": {"type": "oauth"}},
        "httpAuth",
        "'httpAuth' has the type 'oauth'; accepted",
    ),
    ("http", {**HTTP, "httpAuth": "bearer"}, "httpAuth", "'httpAuth' should be an object"),
    ("llm", {}, "llmPrompt", "'llmPrompt' is required"),
    ("llm", {"prompt": ""}, "prompt", "'prompt' is required"),
    ("llm", {"prompt": {}}, "prompt", "'prompt' should be a string"),
    ("llm", {**LLM, "llmTemperature": 3}, "llmTemperature", "less than or equal to 2"),
    ("llm", {**LLM, "llmTemperature": "hot"}, "llmTemperature", "should be a number"),
    ("llm", {**LLM, "llmTemperature": "nan"}, "llmTemperature", "should be a number"),
    ("llm", {**LLM, "llmMaxTokens": 0}, "llmMaxTokens", "greater than or equal to 1"),
    ("llm", {**LLM, "llmMaxTokens": "1.5"}, "llmMaxTokens", "should be a whole number"),
    ("llm", {**LLM, "llmIncludeInput": "maybe"}, "llmIncludeInput", "should be true or false"),
    ("llm", {**LLM, "outputType": "xml"}, "outputType", "should be 'text', 'number', 'date'"),
    ("llm", {**LLM, "outputType": "enum"}, "enumOptions", "is required when outputType is enum"),
    (
        "llm",
        {**LLM, "outputType": "enum", "enumOptions": [" ", None]},
        "enumOptions",
        "is required when outputType is enum",
    ),
    ("llm", {**LLM, "enumOptions": 5}, "enumOptions", "should be a list, or a string with commas"),
    ("llm", {**LLM, "llmProcessingMode": "x"}, "llmProcessingMode", "should be 'batch' or"),
    ("condition", {}, "conditionField", "'conditionField' is required"),
    ("condition", {"conditionField": " "}, "conditionField", "'conditionField' is required"),
    (
        "condition",
        {**CONDITION, "conditionOperator": "near"},
        "conditionOperator",
        "names an unknown operator 'near'; known are: equals, ",
    ),
    ("condition", {**CONDITION, "conditionOperator": 5}, "conditionOperator", "should be "),
    ("condition", {**CONDITION, "logicalOperator": "XOR"}, "logicalOperator", "'AND' or 'OR'"),
    ("condition", {**CONDITION, "processingMode": "all"}, "processingMode", "should be 'batch'"),
    (
        "condition",
        {**CONDITION, "additionalConditions": [{"field": "b"}, {"operator": "isEmpty"}]},
        "additionalConditions/1/field",
        "'additionalConditions.1.field' is required",
    ),
    (
        "condition",
        {**CONDITION, "additionalConditions": {}},
        "additionalConditions",
        "should be a list",
    ),
    ("join", {"joinStrategy": "zip"}, "joinStrategy", "should be 'concat' or 'mergeByKey'"),
    ("join", {"joinType": "right"}, "joinType", "should be 'inner', 'outer' or 'left'"),
    (
        "join",
        {"joinStrategy": "mergeByKey", "joinKey": " "},
        "joinKey",
        "'joinKey' is required when joinStrategy is mergeByKey",
    ),
    ("addField", {"fieldName": ["x"]}, "fieldName", "'fieldName' should be a string"),
    ("manualInput", {"variableName": {}}, "variableName", "'variableName' should be a string"),
    ("output", {"retries": 11}, "retries", "less than or equal to 10"),
    ("output", {"retries": "many"}, "retries", "should be a whole number"),
    ("trigger", {"onError": "ignore"}, "onError", "should be 'stop', 'continue' or 'branch'"),
]


@pytest.mark.parametrize(("node_type", "config", "key", "reason"), INVALID)
def test_an_invalid_config_is_rejected_with_node_field_and_reason(
    node_type: str, config: dict[str, Any], key: str, reason: str
):
    [(pointer, detail)] = check(node_type, config)
    assert pointer == key
    assert detail.startswith(f"node 'n1' ({node_type}): '{key.replace('/', '.')}")
    assert reason in detail


def test_all_problems_of_a_node_are_reported_together():
    problems = check("http", {"httpMethod": "X", "retries": -1, "httpHeaders": 1})
    assert [pointer for pointer, _ in problems] == [
        "retries",
        "httpUrl",
        "httpMethod",
        "httpHeaders",
    ]


def test_problems_do_not_contain_secrets():
    config = {**HTTP, "httpAuth": {"type": "bearer", "token": ["s3cret"]}}
    [(_, detail)] = check("http", config)
    assert "s3cret" not in detail


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_every_setting_of_a_type_is_described_in_its_json_schema(node_type: str):
    schema = describe_config(NODE_CONFIGS[node_type]).schema
    json.dumps(schema)
    assert schema["title"]
    assert schema["description"]
    for key, setting in schema["properties"].items():
        assert setting["title"], key
        assert setting["description"], key


def test_secret_settings_are_marked_in_the_json_schema():
    properties = NODE_CONFIGS["webhook"].model_json_schema()["properties"]
    marked = {key for key, setting in properties.items() if setting.get("writeOnly")}
    assert marked == {"webhookToken", "webhookSecret"}


def test_every_built_in_type_has_a_config():
    assert NODE_CONFIGS.keys() >= NODE_HANDLERS.keys()
