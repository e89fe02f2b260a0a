"""Records of node runs: their starts, their ends and their retries."""

from dataclasses import dataclass

from database.records import Child
from engine.document import Node
from engine.status import NodeStatus


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node run begins. ``attempt`` is above 1 when it had begun before a crash."""

    node: Node
    input_data: str
    attempt: int
    resumed: bool
    was_parked: bool = False
    """Whether it is the next attempt of a parked retry, whose row keeps its start."""
    waited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """A failed attempt whose node run is parked until the next one."""

    attempt: int
    """The number of the next attempt."""
    failed_attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class NodeOutcomeRecorded:
    """A node is decided without a run: skipped, or, in the body of a loop, over all items.

    ``output_data`` is JSON text.
    """

    node: Node
    status: NodeStatus = NodeStatus.SKIPPED
    output_data: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """A node run ends, or is parked (``waiting``). ``output_data`` and ``detail`` are JSON text;
    ``duration`` and ``waited_ms`` in ms, over all attempts; ``None`` leaves what the row has.
    """

    node_id: str
    status: NodeStatus
    duration: int | None
    output_data: str | None = None
    detail: str | None = None
    error: str | None = None
    wait_until: str | None = None
    child: Child | None = None
    """What a node that is parked waits for."""
    abandoned_child: str | None = None
    """The child that a node waited for which now does so no longer."""
    waited_ms: int | None = None
    waiting_since: str | None = None
    retry: RetryLater | None = None
    """Set if the node run is parked until its next attempt."""
