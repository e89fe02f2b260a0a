"""Event waits: nodes that wait for an event from outside, and the event that ends such a wait.

A handler creates a wait by parking its node with ``event``, an object with the ``name`` and the
``key`` of the event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.json_values import JsonValue, is_object

MAX_EVENT_NAME_CHARS = 200
"""Maximum length of the name of an event, in characters."""
MAX_EVENT_KEY_CHARS = 500
"""Maximum length of the key of an event, in characters."""
EVENT = "event"
"""Key of ``park`` with the awaited event, and of a result with the received one."""


@dataclass(frozen=True, slots=True)
class AwaitedEvent:
    """The name and the key that an event must have to end a wait."""

    name: str
    key: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that ``park`` contains."""
        return {"name": self.name, "key": self.key}

    @classmethod
    def of_park(cls, park: Mapping[str, JsonValue]) -> "AwaitedEvent | None":
        """Return the event of a valid ``park``; ``None`` if it waits for no event."""
        event = park.get(EVENT)
        return cls(event["name"], event.get("key") or "") if is_object(event) else None


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """The event that ended a wait; its payload is the data of the resumption."""

    id: str
    name: str
    key: str
    received_at: str

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that the journal and the result of the node contain."""
        return {
            "id": self.id,
            "name": self.name,
            "key": self.key,
            "receivedAt": self.received_at,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> "ReceivedEvent":
        """Return the event of a value that ``as_json`` returned."""
        return cls(value["id"], value["name"], value["key"], value["receivedAt"])


def event_error(park: Mapping[str, JsonValue]) -> str | None:
    """Return why the ``event`` of a ``park`` is invalid; ``None`` if it is valid or missing."""
    event = park.get(EVENT)
    if event is None:
        return None
    if not is_object(event):
        return "should be an object"
    name, key = event.get("name"), event.get("key", "")
    if not _is_text(name, MAX_EVENT_NAME_CHARS) or not name:
        return f"should have a name of 1 to {MAX_EVENT_NAME_CHARS} characters"
    if not _is_text(key, MAX_EVENT_KEY_CHARS):
        return f"should have a key of at most {MAX_EVENT_KEY_CHARS} characters"
    return None


def _is_text(value: JsonValue, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most and "\0" not in value
