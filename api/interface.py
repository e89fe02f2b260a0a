"""The description of the interface (``/openapi.json``): what holds for every operation."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from api.errors import ProblemResponse

TAGS = [
    {"name": "service", "description": "The service itself."},
    {"name": "executions", "description": "Submit, follow, cancel, rerun, resume."},
    {"name": "workflows", "description": "Save, read, check and delete workflows."},
    {"name": "nodes", "description": "The catalogue of node types, and trials of one node."},
    {"name": "live", "description": "Server-Sent Events; the WebSocket `/ws` is beside them."},
    {"name": "webhooks", "description": "Calls from outside that start executions."},
]
STORAGE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)
"""What every operation that touches the database may answer."""
_PROBLEM = {"$ref": "#/components/schemas/ProblemView"}
_FASTAPI_S_OWN = ("HTTPValidationError", "ValidationError")


class DescribedApp(FastAPI):
    """An application whose description shows errors as they are: problem documents.

    FastAPI describes every model as ``application/json``, and a 422 of a form that
    ``api.errors`` replaces.
    """

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = _with_problems(super().openapi())
        return self.openapi_schema


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST:
                    answer["description"] = HTTPStatus(int(status)).phrase
                    answer["content"] = {ProblemResponse.media_type: {"schema": _PROBLEM}}
    for name in _FASTAPI_S_OWN:
        document["components"]["schemas"].pop(name, None)
    return document
