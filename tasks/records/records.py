"""Records: shared helpers of the nodes that work on lists of objects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator

from engine.errors import NodeError, PermanentError
from engine.json_values import (
    JsonValue,
    Missing,
    describe_fields,
    is_list,
    is_object,
    kind_of,
    lookup,
)
from offload import check_stop
from tasks.config.base import NodeConfig
from tasks.config.fields import trimmed
from tasks.templating.filters import measured, text_limit

Record = Mapping[str, JsonValue]
"""One object of a list, by the names of its fields."""


MissingPolicy = Annotated[Literal["error", "ignore"], BeforeValidator(trimmed)]
"""Effect of a missing field."""


class RecordsConfig(NodeConfig, category="data"):
    """Base of the configs of nodes that require records as their input."""

    def needs_input(self) -> bool:
        """Return that the node requires an input."""
        return True


class OutputLimit:
    """Counts the output of a record node while it is created.

    A few records can create a very large output, for example in a join on a key that all share.
    """

    def __init__(self) -> None:
        self._limit = self._left = text_limit()

    def add(self, value: JsonValue) -> None:
        """Count a part of the output; raise a ``NodeError`` if the output is too large."""
        size = measured(value, self._left)
        self._left -= self._left + 1 if size is None else size
        if self._left < 0:
            raise PermanentError(
                f"the output would have more than {self._limit} characters of JSON "
                "(MAX_NODE_RESULT_BYTES)"
            )


def map_records(
    data: JsonValue, function: Callable[[Record], dict[str, JsonValue]]
) -> dict[str, JsonValue] | list[JsonValue]:
    """Return ``function(record)`` for an object, or for each record of a list.

    Raises a ``NodeError`` for another input or an output that is too large. Errors name the record.
    """
    if is_object(data):
        return function(data)
    output: list[JsonValue] = []
    size = OutputLimit()
    for index, record in enumerate(as_records(data)):
        check_stop()
        try:
            output.append(function(record))
        except NodeError as error:
            raise PermanentError(f"record {index}: {error}") from None
        size.add(output[-1])
    return output


def as_records(data: JsonValue) -> list[Record]:
    """Return the records of a list or of one object; raise a ``NodeError`` for another input."""
    if is_object(data):
        return [data]
    if not is_list(data):
        raise PermanentError(
            f"an object or a list of objects is needed; the input is of type {kind_of(data)}"
        )
    return as_objects(data)


def as_objects(items: Iterable[JsonValue], source: str = "") -> list[Record]:
    """Return the items, or raise a ``NodeError`` if one is not an object of the list ``source``."""
    records: list[Record] = []
    for index, item in enumerate(items):
        if not is_object(item):
            raise PermanentError(
                f"record {index}{source} is of type {kind_of(item)}, not an object"
            )
        records.append(item)
    return records


def require_fields(records: Sequence[Record], fields: Iterable[str]) -> None:
    """Raise a ``NodeError`` if all records lack one of the fields."""
    for field in fields if records else ():
        check_stop()
        if all(isinstance(lookup(record, field), Missing) for record in records):
            raise PermanentError(
                f"no record has a field '{field}' (record 0: {describe_fields(records[0])})"
            )
