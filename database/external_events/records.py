"""Event records: an event to accept, and its delivery."""

from dataclasses import dataclass

from database.executions.inputs import IdempotencyKey


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that a client sends; ``payload`` is a JSON object, or ``None``."""

    id: str
    organization: str
    """Empty if it has none."""
    name: str
    key: str
    payload: str | None
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that waits for a node, without its payload."""

    id: str
    organization_id: str | None
    name: str
    key: str
    created_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class EventReceipt:
    """An accepted event, with its delivery so far."""

    id: str
    status: str
    deliveries: int
    """Number of node runs that have received it."""
    created_at: str
    expires_at: str
