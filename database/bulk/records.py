"""Bulk records: requests for bulk operations, their items and their progress."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from database.bulk_tables import PENDING_ITEM

Action = Literal["rerun", "cancel", "delete"]
Definition = Literal["original", "current"]


class ItemStatus(StrEnum):
    """Status of one execution in a bulk operation."""

    PENDING = PENDING_ITEM
    """Not treated yet."""
    SUCCEEDED = "succeeded"
    """The action was applied."""
    FAILED = "failed"
    """The action cannot be applied; the item has the reason."""


@dataclass(frozen=True, slots=True)
class BulkFilter:
    """The executions of a bulk operation: those that meet all conditions."""

    workflow_id: str | None
    statuses: frozenset[str]
    failure: str | None
    """Fingerprint of a failure."""
    created_from: str | None
    created_to: str | None
    include_rerun: bool
    """Whether a rerun includes failed executions that were run again before."""


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """A bulk operation to store; it has either ids or a filter."""

    id: str
    action: Action
    organization_id: str | None
    """Limits the operation to the executions of an organization."""
    ids: tuple[str, ...] | None
    filter: BulkFilter
    definition: Definition
    body_hash: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class BulkReceipt:
    """A stored bulk operation, and the number of its executions."""

    id: str
    matched: int


@dataclass(frozen=True, slots=True)
class ClaimedBulk:
    """A bulk operation that a service has claimed, with its next items."""

    id: str
    owner: str
    action: Action
    organization_id: str | None
    definition: Definition
    execution_ids: list[str]


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One execution of a bulk operation."""

    execution_id: str
    status: str
    new_execution_id: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """A bulk operation with its counts."""

    id: str
    organization_id: str | None
    action: Action
    definition: Definition | None
    matched: int
    succeeded: int
    failed: int
    created_at: str
    completed_at: str | None


@dataclass(frozen=True, slots=True)
class BulkCursor:
    """Position in the items of a bulk operation after which the next page starts."""

    execution_id: str
