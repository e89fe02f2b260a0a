"""The description of the interface (``/openapi.json``): what holds for every operation."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from api.auth.browsers import WEBHOOKS
from api.errors import ProblemResponse
from api.openapi.examples import ANSWERS, PARAMETERS, REQUESTS, problem_example
from api.openapi.links import LINKS
from api.schemas.streams import ExecutionMessage

TAGS = [
    {"name": "service", "description": "The service itself."},
    {"name": "executions", "description": "Submit, follow, cancel, rerun, resume."},
    {"name": "workflows", "description": "Save, read, check and delete workflows."},
    {"name": "nodes", "description": "The catalogue of node types, and trials of one node."},
    {"name": "live", "description": "Server-Sent Events; the WebSocket `/ws` is beside them."},
    {"name": "webhooks", "description": "Calls from outside that start executions."},
]
DESCRIPTION = """\
Every operation has examples; optional parameters have none, so that an operation can be tried
without changing anything. The links of an answer name the operations that come next, and where
in the answer their parameters stand. Errors are problem documents (RFC 9457).
"""
STORAGE_ERROR_STATUSES = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)
"""What every operation that touches the database may answer."""
REQUEST_TIMEOUT_STATUSES = str(HTTPStatus.REQUEST_TIMEOUT.value)
"""What every operation may answer that reads a body."""
_FOREIGN = str(HTTPStatus.FORBIDDEN.value)
"""The response to a page of a foreign origin, of every operation that changes state."""
_SAFE_METHODS = ("get", "head", "options")
_PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}
_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
_TOKEN_SCHEME = "ExecutionToken"  # noqa: S105 - its name
_TOKEN_OPERATIONS = {
    "type": "apiKey",
    "in": "query",
    "name": "token",
    "description": "A token for this execution, from browsers, which set no headers here.",
}
_WEBHOOK = "receiveWebhook"
_EVENTS = "text/event-stream"
_MESSAGE = "ExecutionMessage"
_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"$ref": "#/components/schemas/EventType"},
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": f"#/components/schemas/{_MESSAGE}"},
        },
    },
}
"""One of a stream's events; as ``itemSchema``, where FastAPI puts it and OpenAPI 3.2 has it."""


def _header(description: str, example: str, *, required: bool = True) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "description": description,
        "required": required,
        "schema": schema,
        "example": example,
    }


_LOCATION = _header("The path of what was made.", "/api/executions/54e8b2c5")
_ETAG = _header("The version of the workflow.", '"2026-11-23T10:12:00.123Z"')
_HEADERS: dict[tuple[str, str], dict[str, Any]] = {
    ("executeWorkflow", "200"): {"Location": _LOCATION},
    ("rerunExecution", "200"): {"Location": _LOCATION},
    ("createWorkflow", "201"): {"Location": _LOCATION, "ETag": _ETAG},
    ("getWorkflow", "200"): {"ETag": _ETAG},
    ("getWorkflow", "304"): {"ETag": _ETAG},
    ("updateWorkflow", "200"): {"ETag": _ETAG},
}
_RETRY = {"Retry-After": _header("Seconds after which it is worth another try.", "2")}
_ERROR_HEADERS = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": _header("The methods that the path has.", "GET")},
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY,
    HTTPStatus.SERVICE_UNAVAILABLE: _RETRY,
    HTTPStatus.INSUFFICIENT_STORAGE: _RETRY,
}
_CHALLENGE = {"WWW-Authenticate": _header("How to show a key.", "Bearer")}


class OpenApiApp(FastAPI):
    """An application whose description is whole: errors as they are, headers, examples, links.

    FastAPI describes every model as ``application/json``, and a 422 of a form that
    ``api.errors`` replaces.
    """

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = _described(super().openapi())
        return self.openapi_schema


def _described(document: dict[str, Any]) -> dict[str, Any]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                _describe_parameter(parameter)
            _add_request_examples(operation)
            if method not in _SAFE_METHODS and not path.startswith(WEBHOOKS):
                operation["responses"].setdefault(_FOREIGN, {})
            if "requestBody" in operation:
                operation["responses"].setdefault(REQUEST_TIMEOUT_STATUSES, {})
            for status, answer in operation["responses"].items():
                _describe_answer(operation, status, answer)
                if method == "head":  # its answers have no body, and so nothing to go on from
                    answer.pop("content", None)
                    answer.pop("links", None)
            if path.endswith("/stream") and "security" in operation:
                operation["security"].append({_TOKEN_SCHEME: []})
    components = document["components"]
    components["schemas"] |= _message_schemas()
    for name in _FASTAPI_ERRORS:
        components["schemas"].pop(name, None)
    if "securitySchemes" in components:
        components["securitySchemes"][_TOKEN_SCHEME] = _TOKEN_OPERATIONS
    return document


def _message_schemas() -> dict[str, Any]:
    """Return the schemas of the messages of streams, which no operation returns as JSON."""
    schema = ExecutionMessage.model_json_schema(
        ref_template="#/components/schemas/{model}", mode="serialization"
    )
    return {**schema.pop("$defs"), _MESSAGE: schema}


def _describe_parameter(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    # Left out is what a parameter is without a value; a ``null`` cannot be sent.
    kept = [branch for branch in schema.pop("anyOf", ()) if branch != {"type": "null"}]
    for branch in kept:
        schema.update(branch)
    if schema.get("default", ...) is None:
        del schema["default"]
    description, example = PARAMETERS[parameter["name"]]
    parameter.setdefault("description", description)
    # Swagger UI fills examples in, and would send values that only fit one moment.
    if parameter.get("required"):
        parameter["example"] = example


def _add_request_examples(operation: dict[str, Any]) -> None:
    examples = REQUESTS.get(operation["operationId"])
    if examples is not None:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {name: {"value": value} for name, value in examples.items()}


def _describe_answer(operation: dict[str, Any], status: str, answer: dict[str, Any]) -> None:
    name: str = operation["operationId"]
    if name.startswith(_WEBHOOK):
        name = _WEBHOOK
    if int(status) >= HTTPStatus.BAD_REQUEST:
        said = HTTPStatus(int(status))
        answer["description"] = said.phrase
        example = problem_example(said, said.phrase)
        answer["content"] = {ProblemResponse.media_type: {"schema": _PROBLEM, "example": example}}
        if said is HTTPStatus.UNAUTHORIZED and "security" in operation:
            answer["headers"] = _CHALLENGE
        elif said in _ERROR_HEADERS:
            answer["headers"] = _ERROR_HEADERS[said]
        return
    if (name, status) in _HEADERS:
        answer["headers"] = _HEADERS[name, status]
    if (name, status) in LINKS:
        answer["links"] = LINKS[name, status]
    example = ANSWERS.get(name, {}).get(status)
    for media_type, content in answer.get("content", {}).items():
        if media_type == _EVENTS:
            del content["schema"]  # that of a text, but what is read are events
            content["itemSchema"] = _EVENT
        if example is not None:
            content["example"] = example
