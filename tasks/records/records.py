"""Records: shared helpers of the nodes that work on lists of objects."""

from collections.abc import Callable, Mapping
from typing import cast

from engine.errors import NodeError
from engine.json_values import JsonValue, kind_of
from offload import check_stop
from tasks.templating.filters import measured, text_limit

Record = Mapping[str, JsonValue]
"""One object of a list, by the names of its fields."""


class OutputLimit:
    """Counts what a node for records makes, as it makes it.

    Few records can become very many: in a join by a key that all have, in columns for each, in
    copies of a large value.
    """

    def __init__(self) -> None:
        self._most = self._left = text_limit()

    def add(self, value: JsonValue) -> None:
        """Counts a part of the output.

        Raises:
            NodeError: it is too much altogether.
        """
        size = measured(value, self._left)
        self._left -= self._left + 1 if size is None else size
        if self._left < 0:
            raise NodeError(
                f"the output would have more than {self._most} characters of JSON "
                "(MAX_NODE_RESULT_BYTES)",
                retryable=False,
            )


def change_records(
    data: JsonValue, change: Callable[[Record], dict[str, JsonValue]]
) -> dict[str, JsonValue] | list[JsonValue]:
    """What ``change`` makes of an object, or of each record of a list.

    Raises:
        NodeError: the input is neither, a record is no object, ``change`` refuses one, or they
            come to too much.
    """
    if isinstance(data, Mapping):
        return change(cast("Record", data))
    changed: list[JsonValue] = []
    size = OutputLimit()
    for index, record in enumerate(as_records(data)):
        check_stop()
        try:
            changed.append(change(record))
        except NodeError as error:
            raise NodeError(f"record {index}: {error}", retryable=False) from None
        size.add(changed[-1])
    return changed


def as_records(data: JsonValue) -> list[Record]:
    """The records of a list; an object counts as a list of one.

    Raises:
        NodeError: the input is neither, or a record is no object; says what came and where.
    """
    if isinstance(data, Mapping):
        return [cast("Record", data)]
    if not isinstance(data, list):
        raise NodeError(
            f"an object or a list of objects is needed; the input is of type {kind_of(data)}",
            retryable=False,
        )
    for index, item in enumerate(cast("list[JsonValue]", data)):
        if not isinstance(item, Mapping):
            raise NodeError(
                f"record {index} is of type {kind_of(item)}, not an object", retryable=False
            )
    return cast("list[Record]", data)
