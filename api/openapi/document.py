"""OpenAPI document: completes the document of FastAPI with errors, headers and examples."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from api.auth.browsers import WEBHOOKS
from api.auth.permissions import accepts_query_token, is_public
from api.errors import RETRYABLE_STATUSES, ProblemResponse
from api.openapi.examples import PARAMETERS, REQUESTS
from api.schemas.streams import ExecutionMessage
from engine.status import EventType

TAGS = [
    {"name": "service", "description": "The service itself."},
    {"name": "executions", "description": "Submit, follow, cancel, rerun, resume."},
    {"name": "workflows", "description": "Save, read, check and delete workflows."},
    {"name": "schedules", "description": "The schedules of saved workflows."},
    {"name": "tasks", "description": "The tasks of people, for which nodes wait."},
    {"name": "nodes", "description": "The catalog of node types, and runs of a single node."},
    {
        "name": "live",
        "description": "Server-Sent Events; the WebSocket `/ws` sends the same messages.",
    },
    {"name": "webhooks", "description": "Requests from other programs that start executions."},
]
DESCRIPTION = """\
Every request body has examples. Optional parameters have none, so that an operation can be tried
without changes. Errors are problem documents (RFC 9457).
"""
REQUEST_TIMEOUT_STATUSES = str(HTTPStatus.REQUEST_TIMEOUT.value)
"""Status of every operation that reads a body."""
_FOREIGN_ORIGIN = str(HTTPStatus.FORBIDDEN.value)
"""Status of every operation that changes state, for pages of a foreign origin."""
_SAFE_METHODS = ("get", "head", "options")
_TOO_LARGE = str(HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value)
_FOREIGN_HOST = str(HTTPStatus.MISDIRECTED_REQUEST.value)
"""Status of every operation except webhooks if the service has no keys."""
_UNAUTHORIZED = (str(HTTPStatus.UNAUTHORIZED.value), str(HTTPStatus.FORBIDDEN.value))
"""Statuses of every operation that requires a key."""
_PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}
_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
_KEYS = ("HTTPBearer", "APIKeyHeader")
_TOKEN = "ExecutionToken"  # noqa: S105 - its name
_SECURITY_SCHEMES = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, or a token for one execution.",
    },
    "APIKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    _TOKEN: {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A token for this execution, for browsers, which cannot set headers.",
    },
}
"""The credentials that ``AuthMiddleware`` accepts."""
_EVENTS = "text/event-stream"
_MESSAGE = "ExecutionMessage"
_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": [*map(str, EventType)]},
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": f"#/components/schemas/{_MESSAGE}"},
        },
    },
}
"""An event of a stream, as an ``itemSchema`` of OpenAPI 3.2, which FastAPI uses too."""


def _header(description: str, *, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


_LOCATION = _header("The path of the new resource.")
_ETAG = _header("The version of the workflow.")
_STATE = _header("The version of the state.")
_STARTED = {
    "Location": _LOCATION,
    "Preference-Applied": _header(
        "The applied `Prefer`, if the execution ended in time.", required=False
    ),
}
_HEADERS: dict[tuple[str, str], dict[str, Any]] = {
    ("executeWorkflow", "200"): _STARTED,
    # A dry run creates no resource.
    ("rerunExecution", "200"): {
        **_STARTED,
        "Location": _header("The path of the new resource.", required=False),
    },
    # A dry run creates no resource.
    ("startBulk", "202"): {
        "Location": _header("The path of the new resource.", required=False),
    },
    ("getExecution", "200"): {"ETag": _STATE},
    ("getExecution", "304"): {"ETag": _STATE},
    ("createWorkflow", "201"): {"Location": _LOCATION, "ETag": _ETAG},
    ("getWorkflow", "200"): {"ETag": _ETAG},
    ("getWorkflow", "304"): {"ETag": _ETAG},
    ("updateWorkflow", "200"): {"ETag": _ETAG},
}
_RETRY = {"Retry-After": _header("Seconds after which the client can retry.")}
_ERROR_HEADERS = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": _header("The methods that the path has.")},
    **dict.fromkeys(RETRYABLE_STATUSES, _RETRY),
}
_CHALLENGE = {"WWW-Authenticate": _header("The scheme of the credential.")}


class OpenApiApp(FastAPI):
    """An application with a complete OpenAPI document: errors, headers and examples.

    FastAPI alone describes errors as ``application/json``, and a 422 that ``api.errors`` replaces.
    """

    def __init__(self, *, is_open: bool, **settings: Any) -> None:
        """``is_open`` is true if the service has no keys; FastAPI documents ``settings``."""
        super().__init__(**settings)
        self._is_open = is_open

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = _described(super().openapi(), is_open=self._is_open)
        return self.openapi_schema


def _described(document: dict[str, Any], *, is_open: bool) -> dict[str, Any]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                _describe_parameter(parameter)
            _add_request_examples(operation)
            operation["responses"].setdefault(_TOO_LARGE, {})
            if not is_open:
                _require_key(operation, method.upper(), path)
            elif not path.startswith(WEBHOOKS):
                operation["responses"][_FOREIGN_HOST] = {}
            if method not in _SAFE_METHODS and not path.startswith(WEBHOOKS):
                operation["responses"].setdefault(_FOREIGN_ORIGIN, {})
            if "requestBody" in operation:
                operation["responses"].setdefault(REQUEST_TIMEOUT_STATUSES, {})
            for status, response in operation["responses"].items():
                _describe_response(operation, status, response)
                if method == "head":  # its responses have no body
                    response.pop("content", None)
    components = document["components"]
    components["schemas"] |= _message_schemas()
    for name in _FASTAPI_ERRORS:
        components["schemas"].pop(name, None)
    if not is_open:
        components["securitySchemes"] = _SECURITY_SCHEMES
    return document


def _require_key(operation: dict[str, Any], method: str, path: str) -> None:
    if is_public(method, path):
        return
    operation["responses"] |= {status: {} for status in _UNAUTHORIZED}
    schemes = (*_KEYS, _TOKEN) if accepts_query_token(method, path) else _KEYS
    operation["security"] = [{scheme: []} for scheme in schemes]


def _message_schemas() -> dict[str, Any]:
    """Return the schemas of the messages of streams, which no operation returns as JSON."""
    schema = ExecutionMessage.model_json_schema(
        ref_template="#/components/schemas/{model}", mode="serialization"
    )
    return {**schema.pop("$defs"), _MESSAGE: schema}


def _describe_parameter(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    # A query has no ``null``: a parameter without a value is left out.
    for branch in schema.pop("anyOf", ()):
        if branch != {"type": "null"}:
            schema.update(branch)
    if schema.get("default", ...) is None:
        del schema["default"]
    description, example = PARAMETERS.get(parameter["name"], (None, None))
    if description is not None:
        parameter.setdefault("description", description)
    # Swagger UI sends the examples, and those of optional parameters match no stored data.
    if parameter.get("required"):
        parameter["example"] = example


def _add_request_examples(operation: dict[str, Any]) -> None:
    examples = REQUESTS.get(operation["operationId"])
    if examples is not None:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {name: {"value": value} for name, value in examples.items()}


def _describe_response(operation: dict[str, Any], status: str, response: dict[str, Any]) -> None:
    if int(status) >= HTTPStatus.BAD_REQUEST:
        error = HTTPStatus(int(status))
        response["description"] = error.phrase
        response["content"] = {ProblemResponse.media_type: {"schema": _PROBLEM}}
        if error is HTTPStatus.UNAUTHORIZED and "security" in operation:
            response["headers"] = _CHALLENGE
        elif error in _ERROR_HEADERS:
            response["headers"] = _ERROR_HEADERS[error]
        return
    if headers := _HEADERS.get((operation["operationId"], status)):
        response["headers"] = headers
    if stream := response.get("content", {}).get(_EVENTS):
        del stream["schema"]  # describes a string, but the stream has events
        stream["itemSchema"] = _EVENT
