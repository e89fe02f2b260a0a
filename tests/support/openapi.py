"""OpenAPI reader: the operations of a document and their examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
