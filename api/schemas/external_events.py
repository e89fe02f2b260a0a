"""Event schemas: an event from outside, and its delivery."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictStr

from api.schemas.base import WITHOUT_NUL, ApiModel, Name, RequestModel, without_nul
from engine.event_waits import MAX_EVENT_KEY_CHARS, MAX_EVENT_NAME_CHARS

EventKey = Annotated[
    StrictStr,
    Field(max_length=MAX_EVENT_KEY_CHARS, json_schema_extra={"pattern": WITHOUT_NUL}),
    AfterValidator(without_nul),
]


class SendEventRequest(RequestModel):
    """An event for the nodes that wait for its name and its key."""

    name: Annotated[Name, Field(max_length=MAX_EVENT_NAME_CHARS)]
    key: EventKey = Field(
        default="", description="Equals the key for which the nodes wait, such as an order number."
    )
    payload: dict[str, Any] | None = Field(
        default=None, description="Merged into the output of the nodes."
    )
    organization_id: Name | None = Field(
        default=None,
        description="Only nodes of executions of this organization receive the event; without it, "
        "only those of executions without one.",
    )


class EventResponse(ApiModel):
    """An accepted event."""

    event_id: str
    status: Literal["delivered", "delivering", "kept"] = Field(
        description="`kept`: no node waited for it. The next node that waits receives it."
    )
    deliveries: int = Field(description="Number of nodes that have received the event.")
    created_at: str
    expires_at: str = Field(
        description="The time until which the event is kept, and its `Idempotency-Key` is known."
    )


class KeptEventResponse(ApiModel):
    """An event that waits for a node, without its payload."""

    id: str
    organization_id: str | None
    name: str
    key: str
    created_at: str
    expires_at: str = Field(description="The time until which the event is kept.")


class KeptEventsResponse(ApiModel):
    """A page of kept events."""

    events: list[KeptEventResponse]
    next_cursor: str | None
