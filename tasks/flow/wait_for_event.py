"""waitForEvent nodes: park the execution until an event from outside arrives."""

from typing import Annotated, Any

from prefect import task
from pydantic import Field

from engine.errors import PermanentError
from engine.event_waits import (
    EVENT,
    MAX_EVENT_KEY_CHARS,
    MAX_EVENT_NAME_CHARS,
    AwaitedEvent,
    event_error,
)
from engine.json_values import JsonValue
from engine.options import TimeLimit
from engine.parking import PARK
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, NodeConfig, fill_text, read_config
from tasks.flow.wait import timeout_park


class WaitForEventConfig(NodeConfig, title="Wait for event", category="flow"):
    """Parks the execution until an event arrives, and passes on its payload."""

    event_name: Annotated[str, TEMPLATED] = Field(
        title="Event", min_length=1, max_length=MAX_EVENT_NAME_CHARS
    )
    """Name of the event; may contain templates."""
    event_key: Annotated[str, TEMPLATED] = Field(
        default="", title="Key", max_length=MAX_EVENT_KEY_CHARS
    )
    """Key of the event, such as `{{ orderId }}`; may contain templates."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time limit")
    """Maximum seconds to wait, up to a year; unlimited by default."""


@task(name="waitForEvent")
@computed
def handle_wait_for_event(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input and park the node until the event; ``NodeError`` for an invalid name."""
    config = read_config(WaitForEventConfig, node)
    event = AwaitedEvent(
        fill_text("eventName", config.event_name, input_data),
        fill_text("eventKey", config.event_key, input_data),
    )
    park: dict[str, JsonValue] = {EVENT: event.as_json()}
    if reason := event_error(park):
        raise PermanentError(f"the event {reason}")
    named = f"the event '{event.name}'" + (f" with the key '{event.key}'" if event.key else "")
    park |= timeout_park(f"{named} did not arrive within", config.timeout_seconds)
    return success(f"Waits for {named}", input_data, **{PARK: park})
