"""OpenAPI document: complete and consistent."""

import json
import re
from http import HTTPStatus
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.access import ENTRIES
from tests.support.openapi import Operation, document_of, examples_of, operations_of
from worker_setup import EXAMPLES

PROBLEM = "application/problem+json"


@pytest.fixture(params=[{}, {"api_keys": ENTRIES}], ids=["open", "with keys"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The document of a service without and with keys."""
    return document_of(**request.param)


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Check that ``value`` matches ``schema``, which may refer to the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_every_operation_describes_itself_and_its_errors(
    document: dict[str, Any], subtests: pytest.Subtests
):
    for operation in operations_of(document):
        with subtests.test(operation.name):
            check_description(document, operation)


def check_description(document: dict[str, Any], operation: Operation) -> None:
    definition = operation.definition
    assert definition["summary"]
    assert definition["description"]
    assert len(definition["tags"]) == 1
    assert set(definition["tags"]) <= {tag["name"] for tag in document["tags"]}
    failures = {
        status: response
        for status, response in definition["responses"].items()
        if int(status) >= 400
    }
    assert failures
    for status, response in failures.items():
        if operation.method == "HEAD":
            assert "content" not in response
            continue
        assert set(response["content"]) == {PROBLEM}
        assert response["content"][PROBLEM]["schema"] == {
            "$ref": "#/components/schemas/ProblemDetails"
        }
        assert response["description"] == HTTPStatus(int(status)).phrase


def test_operation_ids_are_stable_and_readable(document: dict[str, Any]):
    names = [operation.name for operation in operations_of(document)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in names)
    assert {"executeWorkflow", "getExecution", "createWorkflow", "streamExecution"} <= set(names)


def test_every_parameter_is_described_and_only_required_ones_have_an_example(
    document: dict[str, Any], subtests: pytest.Subtests
):
    """Swagger UI sends all examples, so that optional parameters must have none."""
    for operation in operations_of(document):
        with subtests.test(operation.name):
            check_parameters(document, operation)


def check_parameters(document: dict[str, Any], operation: Operation) -> None:
    for parameter in operation.definition.get("parameters", ()):
        assert parameter["description"]
        examples = examples_of(parameter)
        assert bool(examples) == parameter.get("required", False), parameter["name"]
        assert "examples" not in parameter["schema"]
        for example in examples:
            check(example, parameter["schema"], document)


def test_every_request_body_has_valid_examples(document: dict[str, Any], subtests: pytest.Subtests):
    for operation in operations_of(document):
        body = operation.definition.get("requestBody", {})
        for media_type, content in body.get("content", {}).items():
            with subtests.test(operation.name, media_type=media_type):
                examples = examples_of(content)
                assert examples
                for example in examples:
                    check(example, content["schema"], document)


def test_every_successful_response_has_a_schema(
    document: dict[str, Any], subtests: pytest.Subtests
):
    for operation in operations_of(document):
        with subtests.test(operation.name):
            check_responses(operation)


def check_responses(operation: Operation) -> None:
    for status, response in operation.definition["responses"].items():
        if status in ("204", "304"):
            assert "content" not in response
        elif int(status) < 400 and operation.method != "HEAD":
            assert response["content"]
            for media_type, content in response["content"].items():
                key = "itemSchema" if media_type == "text/event-stream" else "schema"
                assert set(content) == {key}, status


def test_every_schema_has_a_description(document: dict[str, Any]):
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


STATUSES = ["pending", "running", "waiting", "completed", "failed", "cancelled"]
NODE_STATUSES = ["running", "completed", "error", "cancelled", "skipped", "waiting"]
EVENTS = [
    "execution_progress",
    "execution_complete",
    "execution_cancelled",
    "execution_error",
]
ENUMS = [
    ("ExecutionResponse", "status", STATUSES),
    ("ExecutionSummaryResponse", "status", STATUSES),
    ("ListedExecutionResponse", "status", STATUSES),
    (
        "ListedExecutionResponse",
        "triggerType",
        ["manual", "webhook", "schedule", "subworkflow", "failure"],
    ),
    ("CancelResponse", "previousStatus", STATUSES),
    ("NodeLogResponse", "status", NODE_STATUSES),
    ("ExecutionMessage", "type", EVENTS),
    ("ExecutionMessage", "status", STATUSES),
]


@pytest.mark.parametrize(("schema", "field", "values"), ENUMS)
def test_fields_with_known_values_are_enums(
    document: dict[str, Any], schema: str, field: str, values: list[str]
):
    """A union of an enum and a string could not be narrowed by generated TypeScript."""
    schemas = document["components"]["schemas"]
    field_schema = schemas[schema]["properties"][field]
    branches = [
        branch for branch in field_schema.get("anyOf", [field_schema]) if branch != {"type": "null"}
    ]
    (branch,) = branches
    assert sorted(branch["enum"]) == sorted(values)
    assert branch["description"]


def test_every_reference_resolves_to_a_schema(document: dict[str, Any]):
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]
    assert "#/$defs" not in text


def test_operations_require_a_key_only_if_keys_are_set():
    open_document, keyed = document_of(), document_of(api_keys=ENTRIES)
    health = {"getServiceStatus", "getLiveness", "getReadiness"}
    public = {*health, *(op.name for op in operations_of(keyed) if "webhook" in op.path)}
    assert {op.name for op in operations_of(keyed) if "security" not in op.definition} == public
    assert not any("security" in operation.definition for operation in operations_of(open_document))
    for operation in operations_of(keyed):
        if operation.name not in public:
            assert {"401", "403"} <= set(operation.definition["responses"])


def test_the_examples_use_a_workflow_of_a_new_database():
    assert (EXAMPLES / "hello-world.json").exists()
    (workflow,) = {
        parameter["example"]
        for operation in operations_of(document_of())
        for parameter in operation.definition.get("parameters", ())
        if parameter["name"] == "workflow_id"
    }
    assert workflow == "example-hello-world"
