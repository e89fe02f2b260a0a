"""Document settings: a value of a whole workflow, such as the limit of its executions.

It is a field of ``settings``, or a field at the top of the document.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.errors import Problem
from engine.json_values import JsonValue, describe_value, is_object, load_json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DocumentSetting(Generic[T]):
    """A field of a document and how its values are read."""

    key: str
    expected: str
    """The valid values, for the message of a problem."""
    code: str
    """Code of the problem of another value."""
    read: Callable[[JsonValue], T | None]
    """Returns the meaning of a value; ``None`` if it is invalid."""

    def in_document(self, document: JsonValue) -> tuple[T | None, Problem | None]:
        """Return the value in a document, or why it is invalid; both are ``None`` without one."""
        for fields, pointer in _places(document):
            value = fields.get(self.key)
            if value is None or value == "":
                continue
            meaning = self.read(value)
            if meaning is not None:
                return meaning, None
            detail = f"'{self.key}' should be {self.expected}, not {describe_value(value)}"
            return None, Problem(self.code, detail, f"{pointer}/{self.key}")
        return None, None

    def in_text(self, text: str) -> T | None:
        """Return the value in a stored document; ``None`` if it has none."""
        if self.key not in text:
            return None
        try:
            return self.in_document(load_json(text))[0]
        except ValueError:
            return None


def _places(document: JsonValue) -> Iterator[tuple[Mapping[str, JsonValue], str]]:
    if not is_object(document):
        return
    settings = document.get("settings")
    if is_object(settings):
        yield settings, "/settings"
    yield document, ""
