"""Parked nodes: a handler that has nothing to do until a moment or a person says so.

A handler parks its node by returning ``park`` beside its ``outputData``; the execution holds no
thread, task or slot then. This module decides what comes of the node when it goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.json_values import JsonValue, as_text, is_object, kind_of
from engine.outcome import Outcome
from engine.status import NodeStatus
from engine.subworkflow_calls import CALL, ChildResult, call_error, call_of

PARK = "park"
"""Key of a handler's result. Its value is an object:

- ``until``: ISO 8601 with a time zone, when the node goes on by itself; absent: never;
- ``fail``: the error with which it ends then, where somebody should have answered before;
- ``asks``: true where the answer picks the connections ``true`` or ``false``;
- ``call``: another workflow's execution that is waited for, see ``engine.subworkflow_calls``.
"""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What ``resume`` said of a parked node, or how the child that it waits for ended."""

    approved: bool = True
    data: Mapping[str, JsonValue] | None = None
    child: ChildResult | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """As the journal keeps it."""
        if self.child is not None:
            return {"child": self.child.as_json()}
        return {"approved": self.approved, "data": None if self.data is None else dict(self.data)}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> "Resumption":
        """What ``as_json`` gave."""
        if is_object(child := value.get("child")):
            return cls(child=ChildResult.from_json(child))
        return cls(bool(value.get("approved", True)), value.get("data"))


@dataclass(frozen=True, slots=True)
class ParkedNode:
    """A node run that waits. ``result`` is what its handler returned."""

    result: Mapping[str, JsonValue]
    resumption: Resumption | None = None

    @property
    def until(self) -> datetime | None:
        """When it goes on by itself; ``None``: only by a resumption."""
        until = _parking(self.result).get("until")
        return datetime.fromisoformat(until) if isinstance(until, str) else None

    @property
    def child_id(self) -> str | None:
        """The execution that it waits for, where that has not ended yet."""
        call = call_of(self.result.get(PARK))
        if call is None or self.resumption is not None:
            return None
        return call.get("executionId")

    def is_due(self, now: datetime) -> bool:
        """Whether it may go on."""
        return self.resumption is not None or (self.until is not None and self.until <= now)

    def outcome(self) -> Outcome:
        """How a node that is due ends: with its data, or failed where nobody answered in time."""
        result = {key: value for key, value in self.result.items() if key != PARK}
        failure = _parking(self.result).get("fail")
        if self.resumption is None:
            if isinstance(failure, str):
                return Outcome(NodeStatus.ERROR, error=failure)
            return Outcome(NodeStatus.COMPLETED, result)
        if self.resumption.child is not None:
            return self.resumption.child.outcome(result)
        result["outputData"] = _merged(result.get("outputData"), self.resumption.data)
        if _parking(self.result).get("asks"):
            result["approved"] = result["conditionResult"] = self.resumption.approved
        return Outcome(NodeStatus.COMPLETED, result)


@dataclass(frozen=True, slots=True)
class ParkedRetry:
    """A node run whose last attempt failed and whose next one starts at ``until``."""

    until: datetime
    resumed: bool = False
    """Whether ``resume`` asked for the attempt before that moment."""

    child_id = None
    """An attempt that failed called no execution."""

    def is_due(self, now: datetime) -> bool:
        """Return whether the next attempt may start."""
        return self.resumed or self.until <= now


def park_error(result: Mapping[str, JsonValue]) -> str | None:
    """Why a handler's result cannot park its node as it says; ``None`` where it can or does not."""
    if PARK not in result:
        return None
    park = result[PARK]
    if not is_object(park):
        return f"'{PARK}' should be an object, not of type {kind_of(park)}"
    if reason := call_error(park.get(CALL)):
        return f"'{PARK}.{CALL}' {reason}"
    until = park.get("until")
    if until is None:
        return None
    try:
        moment = datetime.fromisoformat(until) if isinstance(until, str) else None
        if moment is not None and moment.tzinfo is not None:
            moment.astimezone(UTC)
            return None
    except (ValueError, OverflowError):
        pass
    return f"'{PARK}.until' should be a moment in ISO 8601 with a time zone, not {as_text(until)}"


def is_parking(result: Mapping[str, JsonValue]) -> bool:
    """Whether a handler's result parks its node."""
    return isinstance(result.get(PARK), Mapping)


def _parking(result: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    return result[PARK]


def _merged(output: JsonValue, data: Mapping[str, JsonValue] | None) -> JsonValue:
    """What a resumption brought, put into what the node had."""
    if data is None:
        return output
    if output is None:
        return dict(data)
    if is_object(output):
        return {**output, **data}
    return {"input": output, **data}
