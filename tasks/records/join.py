"""join node: makes one list of two inputs, by concatenation or as a relational join."""

from collections.abc import Hashable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, cast

from prefect import task
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.errors import NodeError
from engine.json_values import JsonValue, Missing, hashable, kind_of, lookup, nfc
from offload import check_stop
from tasks.config.base import MissingSettingError, NodeConfig, read_config
from tasks.config.fields import trimmed
from tasks.config.json_schema import required_when
from tasks.records.records import OutputLimit, Record

_PORTS = ("A", "B")


class JoinStrategy(StrEnum):
    """How the two inputs of a join become one list."""

    CONCAT = "concat"
    MERGE_BY_KEY = "mergeByKey"


class JoinType(StrEnum):
    """Which records without a match a join by key keeps."""

    INNER = "inner"
    OUTER = "outer"
    LEFT = "left"


_JOIN_KEY_REQUIRED = required_when(
    "joinKey", "joinStrategy", "mergeByKey", type="string", pattern=r"\S"
)


class JoinConfig(
    NodeConfig,
    title="Join",
    category="data",
    inputs=("A", "B"),
    json_schema_extra=_JOIN_KEY_REQUIRED,
):
    """Makes one list of two inputs, end to end or by a common key."""

    join_strategy: Annotated[JoinStrategy, BeforeValidator(trimmed)] = Field(
        default=JoinStrategy.CONCAT, title="Strategy"
    )
    """``concat`` puts A before B; ``mergeByKey`` merges the records whose keys are equal."""
    join_type: Annotated[JoinType, BeforeValidator(trimmed)] = Field(
        default=JoinType.INNER, title="Records without a match"
    )
    """``inner`` drops them, ``left`` keeps those of A, ``outer`` keeps those of both."""
    join_key: str = Field(default="", title="Key", validate_default=True)
    """The field whose values must be equal; ``a.b`` reaches inside."""

    @field_validator("join_key")
    @classmethod
    def _key_of_a_merge(cls, key: str, info: ValidationInfo) -> str:
        if info.data.get("join_strategy") == JoinStrategy.MERGE_BY_KEY and not key:
            raise MissingSettingError("is required when joinStrategy is mergeByKey")
        return key


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
    return None if found is None or isinstance(found, Missing) else hashable(found)
