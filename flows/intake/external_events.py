"""Event service: accepts events from outside for the nodes that wait for them."""

import uuid
from dataclasses import dataclass
from hashlib import sha256

from database import Database
from database.executions.event_waits import DELIVERING
from database.executions.inputs import IdempotencyKey
from database.external_events.records import EventReceipt, NewEvent
from engine.json_encoding import size_within
from engine.json_values import JsonValue, encode_json
from engine.request_errors import EventTooLargeError
from offload import MAX_INLINE_BYTES, run_sized


@dataclass(frozen=True, slots=True)
class EventLimits:
    """The limits of events; the composition root fills them in."""

    retention_seconds: float
    max_kept: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class EventRequest:
    """An event of a client."""

    organization_id: str | None
    name: str
    key: str
    payload: dict[str, JsonValue] | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class EventService:
    """Accepts events and delivers them."""

    database: Database
    limits: EventLimits

    async def accept(self, request: EventRequest) -> EventReceipt:
        """Store an event and resume every node run that waits for it.

        If none waits, the event is kept for the next one.

        Raises:
            EventTooLargeError: If the payload is too large.
            IdempotencyKeyReusedError: If the idempotency key belongs to another event.
            TooManyKeptEventsError: If too many events are kept.
        """
        size = size_within(request.payload, MAX_INLINE_BYTES)
        size = MAX_INLINE_BYTES + 1 if size is None else size
        event = await run_sized(size, self._read, request)
        limits, events = self.limits, self.database.external_events
        receipt = await events.accept(event, limits.retention_seconds, limits.max_kept)
        while receipt.status == DELIVERING:
            receipt = await events.deliver(receipt.id)
        return receipt

    def _read(self, request: EventRequest) -> NewEvent:
        payload = None if request.payload is None else encode_json(request.payload)
        size = len((payload or "").encode())
        if size > self.limits.max_bytes:
            raise EventTooLargeError(size, self.limits.max_bytes)
        organization = request.organization_id or ""
        key = None
        if request.idempotency_key is not None:
            body = encode_json([organization, request.name, request.key, payload])
            digest = sha256(body.encode()).hexdigest()
            key = IdempotencyKey(organization, request.idempotency_key, digest)
        return NewEvent(str(uuid.uuid4()), organization, request.name, request.key, payload, key)
