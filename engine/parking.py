"""Parking: nodes that wait without a thread, until a time or a resumption.

A handler parks its node by returning ``park`` in addition to its ``outputData``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from engine.event_waits import EVENT, ReceivedEvent, event_error
from engine.human_tasks import ASKS, TASK, task_error
from engine.json_values import JsonValue, as_text, is_object, kind_of
from engine.outcome import Outcome
from engine.status import NodeStatus
from engine.subworkflow_calls import CALL, ChildResult, call_error, call_of

PARK = "park"
"""Key of a handler's result. Its value is an object:

- ``until``: ISO 8601 with a time zone, the end of the wait; without it, only a resumption ends it;
- ``fail``: the error of the node if it was not resumed before ``until``;
- ``asks``: true if the resumption selects the connections ``true`` or ``false``; the node has a
  task for people, which ``task`` describes, see ``engine.human_tasks``;
- ``event``: the event from outside to wait for, see ``engine.event_waits``;
- ``call``: the execution of another workflow to wait for, see ``engine.subworkflow_calls``.
"""


@dataclass(frozen=True, slots=True)
class Resumption:
    """The end of a wait: ``resume``, an event, the result of a child execution, or its time."""

    approved: bool = True
    data: Mapping[str, JsonValue] | None = None
    """The data of ``resume``, or the payload of the event."""
    child: ChildResult | None = None
    event: ReceivedEvent | None = None
    expired: bool = False
    """Whether ``until`` has passed, so that nothing else can end the wait any more."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that the journal stores."""
        if self.expired:
            return {"expired": True}
        if self.child is not None:
            return {"child": self.child.as_json()}
        data = None if self.data is None else dict(self.data)
        if self.event is not None:
            return {EVENT: self.event.as_json(), "data": data}
        return {"approved": self.approved, "data": data}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> "Resumption":
        """Return the resumption of a value that ``as_json`` returned."""
        if value.get("expired"):
            return cls(expired=True)
        if is_object(child := value.get("child")):
            return cls(child=ChildResult.from_json(child))
        if is_object(event := value.get(EVENT)):
            return cls(data=value.get("data"), event=ReceivedEvent.from_json(event))
        return cls(bool(value.get("approved", True)), value.get("data"))


@dataclass(frozen=True, slots=True)
class ParkedNode:
    """A node run that waits. ``result`` is the one of its handler."""

    result: Mapping[str, JsonValue]
    resumption: Resumption | None = None

    @property
    def parking(self) -> Mapping[str, JsonValue]:
        """The ``park`` of the result."""
        return self.result[PARK]

    @property
    def until(self) -> datetime | None:
        """The end of the wait; ``None`` if only a resumption ends it."""
        until = self.parking.get("until")
        return datetime.fromisoformat(until) if isinstance(until, str) else None

    @property
    def child_id(self) -> str | None:
        """The execution that it waits for, if that has not finished."""
        call = call_of(self.result.get(PARK))
        if call is None or (self.resumption is not None and not self.resumption.expired):
            return None
        return call.get("executionId")

    def is_due(self, now: datetime) -> bool:
        """Return whether the wait is over."""
        return self.resumption is not None or self.has_expired(now)

    def has_expired(self, now: datetime) -> bool:
        """Return whether its time has passed and nothing has resumed it."""
        return self.resumption is None and self.until is not None and self.until <= now

    def outcome(self) -> Outcome:
        """Return the outcome of a node that is due; it may be a failure if it was not resumed."""
        result = {key: value for key, value in self.result.items() if key != PARK}
        failure = self.parking.get("fail")
        if self.resumption is None or self.resumption.expired:
            if isinstance(failure, str):
                return Outcome(NodeStatus.ERROR, error=failure)
            return Outcome(NodeStatus.COMPLETED, result)
        if self.resumption.child is not None:
            return self.resumption.child.outcome(result)
        result["outputData"] = _merged(result.get("outputData"), self.resumption.data)
        if self.resumption.event is not None:
            result[EVENT] = self.resumption.event.as_json()
        if self.parking.get(ASKS):
            result["approved"] = result["conditionResult"] = self.resumption.approved
        return Outcome(NodeStatus.COMPLETED, result)


@dataclass(frozen=True, slots=True)
class ParkedRetry:
    """A node run whose last attempt failed and whose next one starts at ``until``."""

    until: datetime
    resumed: bool = False
    """Whether ``resume`` requested the attempt before ``until``."""

    child_id = None
    """A failed attempt has no child."""

    def is_due(self, now: datetime) -> bool:
        """Return whether the next attempt may start."""
        return self.resumed or self.until <= now


@dataclass(frozen=True, slots=True)
class ParkedPermit:
    """A node run that has not begun its attempt, because a limit of several services is reached.

    The journal wakes its execution when its permit is granted.
    """

    until = None
    """The end of the wait is not known."""
    child_id = None
    """A node run that has not begun has no child."""


Parked: TypeAlias = ParkedNode | ParkedRetry | ParkedPermit
"""A node run that waits."""


def park_error(result: Mapping[str, JsonValue]) -> str | None:
    """Return why the ``park`` of a result is invalid; ``None`` if it is valid or missing."""
    if PARK not in result:
        return None
    park = result[PARK]
    if not is_object(park):
        return f"'{PARK}' should be an object, not of type {kind_of(park)}"
    if reason := call_error(park.get(CALL)):
        return f"'{PARK}.{CALL}' {reason}"
    if reason := task_error(park):
        return f"'{PARK}.{TASK}' {reason}"
    if reason := event_error(park):
        return f"'{PARK}.{EVENT}' {reason}"
    until = park.get("until")
    if until is None:
        return None
    try:
        timestamp = datetime.fromisoformat(until)
        if timestamp.tzinfo is not None:
            timestamp.astimezone(UTC)
            return None
    except (TypeError, ValueError, OverflowError):
        pass
    return (
        f"'{PARK}.until' should be a timestamp in ISO 8601 with a time zone, not {as_text(until)}"
    )


def is_parking(result: Mapping[str, JsonValue]) -> bool:
    """Return whether a handler's result parks its node."""
    return isinstance(result.get(PARK), Mapping)


def _merged(output: JsonValue, data: Mapping[str, JsonValue] | None) -> JsonValue:
    """Return the output of a node with the data of its resumption."""
    if data is None:
        return output
    if output is None:
        return dict(data)
    if is_object(output):
        return {**output, **data}
    return {"input": output, **data}
