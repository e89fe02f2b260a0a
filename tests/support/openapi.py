"""OpenAPI reader: the operations of a document and their examples."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from api_service import create_app
from config import Settings

Path = dict[str, str]


@dataclass(frozen=True)
class Operation:
    """One operation, with its method and path."""

    method: str
    path: str
    definition: dict[str, Any]

    @property
    def name(self) -> str:
        return self.definition["operationId"]

    def request_examples(self) -> Iterator[tuple[str, Any]]:
        """Yield the media type and the value of each example of the request body."""
        body = self.definition.get("requestBody", {})
        for media_type, content in body.get("content", {}).items():
            for value in examples_of(content):
                yield media_type, value


def document_of(**values: Any) -> dict[str, Any]:
    """Return the OpenAPI document of a service with these settings."""
    return json.loads(_document_text(**values))


@cache
def _document_text(**values: Any) -> str:
    settings = Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]
    return json.dumps(create_app(settings).openapi())


def operations_of(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method.upper(), path, definition)
        for path, methods in document["paths"].items()
        for method, definition in methods.items()
    ]


def examples_of(content: dict[str, Any]) -> list[Any]:
    """Return the examples of a parameter, a header or a body."""
    named = [example["value"] for example in content.get("examples", {}).values()]
    return [content["example"], *named] if "example" in content else named
