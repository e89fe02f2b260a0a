"""join node: makes one list of two inputs, by concatenation or as a relational join."""

from collections.abc import Hashable, Iterator
from typing import Annotated, Any, Literal

from prefect import task
from pydantic import BeforeValidator, Field

from engine.errors import PermanentError
from engine.json_values import (
    JsonValue,
    Missing,
    hashable,
    is_list,
    is_object,
    kind_of,
    lookup,
    nfc,
)
from offload import check_stop
from tasks.compute import success
from tasks.config.base import NodeConfig, read_config
from tasks.config.fields import required_for, trimmed
from tasks.config.json_schema import required_when
from tasks.records.records import OutputLimit, Record, as_objects

_PORTS = ("A", "B")


_JOIN_KEY_REQUIRED = required_when(
    "joinKey", "joinStrategy", "mergeByKey", type="string", pattern=r"\S"
)


class JoinConfig(
    NodeConfig,
    title="Join",
    category="data",
    inputs=("A", "B"),
    pure=True,
    json_schema_extra=_JOIN_KEY_REQUIRED,
):
    """Makes one list of two inputs, by concatenation or on a common key."""

    join_strategy: Annotated[Literal["concat", "mergeByKey"], BeforeValidator(trimmed)] = Field(
        default="concat", title="Strategy"
    )
    """``concat`` puts A before B; ``mergeByKey`` merges the records whose keys are equal."""
    join_type: Annotated[Literal["inner", "outer", "left"], BeforeValidator(trimmed)] = Field(
        default="inner", title="Records without a match"
    )
    """``inner`` drops them, ``left`` keeps those of A, ``outer`` keeps those of both."""
    join_key: Annotated[str, required_for("joinStrategy", "mergeByKey", unset="")] = Field(
        default="", title="Key", validate_default=True
    )
    """The field whose values must be equal; ``a.b`` is a nested field."""


# Not a coroutine, so that it runs in a thread and long lists do not delay other executions.
@task(name="join")
def handle_join(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return one list of the inputs ``{"A": …, "B": …}``, concatenated or joined on a key.

    Raises a ``NodeError`` if the input has other ports, a record to be joined is not an object, or
    the output is too large.
    """
    config = read_config(JoinConfig, node)
    left, right = _by_port(input_data)
    if config.join_strategy == "concat":
        joined = [*left, *right]
    else:
        joined: list[JsonValue] = []
        size = OutputLimit()
        records_a, records_b = as_objects(left, " of input A"), as_objects(right, " of input B")
        for record in _merge(config, records_a, records_b):
            check_stop()
            size.add(record)
            joined.append(record)
    message = f"Joined {len(left)} and {len(right)} records to {len(joined)}"
    return success(message, joined)


def _by_port(data: JsonValue) -> tuple[list[JsonValue], list[JsonValue]]:
    ports: Record = data if is_object(data) else {}
    if data is not None and (not is_object(data) or (data and not data.keys() & set(_PORTS))):
        kind = "an object with neither" if is_object(data) else f"of type {kind_of(data)}"
        raise PermanentError(f'a join needs {{"A": …, "B": …}}; the input is {kind}')
    left, right = (_as_list(ports.get(port)) for port in _PORTS)
    return left, right


def _as_list(value: JsonValue) -> list[JsonValue]:
    if value is None:
        return []
    return value if is_list(value) else [value]


def _merge(
    config: JoinConfig, left: list[Record], right: list[Record]
) -> Iterator[dict[str, JsonValue]]:
    """Yield the records of the relational join: in the order of A, then the rest of B."""
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
        if not matches and config.join_type != "inner":
            yield dict(record)
    if config.join_type == "outer":
        yield from (dict(record) for i, record in enumerate(right) if i not in matched)


def _combined(left: Record, right: Record) -> dict[str, JsonValue]:
    """Return the fields of both records. Names equal in NFC are one field, with B's value."""
    if all(map(str.isascii, left)) or all(map(str.isascii, right)):
        return {**left, **right}
    names = {nfc(name): name for name in left}
    return {**left, **{names.get(nfc(name), name): value for name, value in right.items()}}


def _key(record: Record, path: str) -> Hashable | None:
    """Return the key of a record; ``None`` equals no other key, as in SQL."""
    key = lookup(record, path)
    return None if key is None or isinstance(key, Missing) else hashable(key)
