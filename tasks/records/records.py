"""Work on records: addField, join, and what the other nodes for records share with them."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, cast

from prefect import task

from engine.errors import NodeError
from engine.json_values import JsonValue, Missing, frozen, kind_of, lookup, nfc
from offload import check_stop
from tasks.compute import compute
from tasks.config.base import fill, read_config
from tasks.config.fields import AddFieldConfig, JoinConfig, JoinStrategy, JoinType
from tasks.templating.filters import measured, text_limit

Record = Mapping[str, JsonValue]
"""One object of a list, by the names of its fields."""

_PORTS = ("A", "B")


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


@task(name="addField")
async def handle_add_field(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """A copy of the object, or of each record of the list, with one more field.

    Raises:
        NodeError: the input is neither, a record is no object, or a template's field is missing.
    """
    return await compute((node, input_data), _add_field, node, input_data)


def _add_field(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(AddFieldConfig, node)
    data: JsonValue = {} if input_data is None else input_data
    output = change_records(data, lambda record: _extended(config, record))
    return {
        "success": True,
        "message": f"Field '{config.add_field_name}' added",
        "outputData": output,
    }


def _extended(config: AddFieldConfig, record: Record) -> dict[str, JsonValue]:
    value = fill("addFieldValue", config.add_field_value, record)
    return {**record, config.add_field_name: value}


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


# No coroutine: it runs in a thread, and long lists hold up no other execution.
@task(name="join")
def handle_join(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """One list of the inputs ``{"A": …, "B": …}``, end to end or joined by a key.

    Raises:
        NodeError: the input has other parts, a record to be joined by key is no object, or what is
            joined by key comes to too much.
    """
    config = read_config(JoinConfig, node)
    left, right = _by_port(input_data)
    if config.join_strategy == JoinStrategy.CONCAT:
        joined = [*left, *right]
    else:
        joined: list[JsonValue] = []
        size = OutputLimit()
        for record in _merge(config, _records("A", left), _records("B", right)):
            check_stop()
            size.add(record)
            joined.append(record)
    return {
        "success": True,
        "message": f"Joined {len(left)} and {len(right)} records to {len(joined)}",
        "outputData": joined,
    }


def _by_port(data: JsonValue) -> tuple[list[JsonValue], list[JsonValue]]:
    ports = cast("Record", data) if isinstance(data, Mapping) else None
    if data is not None and (ports is None or (ports and not ports.keys() & set(_PORTS))):
        raise NodeError(
            f'a join takes {{"A": …, "B": …}}; the input is {_described(data)}', retryable=False
        )
    left, right = (_as_list((ports or {}).get(port)) for port in _PORTS)
    return left, right


def _described(data: JsonValue) -> str:
    if isinstance(data, Mapping):
        return "an object with neither"
    return f"of type {kind_of(data)}"


def _as_list(value: JsonValue) -> list[JsonValue]:
    if value is None:
        return []
    return cast("list[JsonValue]", value) if isinstance(value, list) else [value]


def _records(port: str, items: list[JsonValue]) -> list[Record]:
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise NodeError(
                f"record {index} of input {port} is of type {kind_of(item)}, not an object",
                retryable=False,
            )
    return cast("list[Record]", items)


def _merge(
    config: JoinConfig, left: list[Record], right: list[Record]
) -> Iterator[dict[str, JsonValue]]:
    """The relational join: A's order, then what of B is left over."""
    by_key: dict[Hashable, list[int]] = {}
    for index, record in enumerate(right):
        check_stop()
        if (key := _key(record, config.join_key)) is not None:
            by_key.setdefault(key, []).append(index)
    matched: set[int] = set()
    for record in left:
        check_stop()
        key = _key(record, config.join_key)
        matches = [] if key is None else by_key.get(key, [])
        matched.update(matches)
        for index in matches:
            yield _combined(record, right[index])
        if not matches and config.join_type != JoinType.INNER:
            yield dict(record)
    if config.join_type == JoinType.OUTER:
        yield from (dict(record) for i, record in enumerate(right) if i not in matched)


def _combined(left: Record, right: Record) -> dict[str, JsonValue]:
    """Return the fields of both records. Names equal in NFC are one field, with B's value."""
    if all(map(str.isascii, left)) or all(map(str.isascii, right)):
        return {**left, **right}
    names = {nfc(name): name for name in left}
    return {**left, **{names.get(nfc(name), name): value for name, value in right.items()}}


def _key(record: Record, path: str) -> Hashable | None:
    """A record's key, ``None`` when it has none and so equals no other, as SQL has it."""
    found = lookup(record, path)
    return None if found is None or isinstance(found, Missing) else frozen(found)
