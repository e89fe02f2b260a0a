"""Parked nodes: the waiting node runs of one execution, their due times and their outcomes."""

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime

from engine.loops import Loop
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import Parked, ParkedNode, ParkedPermit, ParkedRetry, Resumption


class ParkedNodes:
    """Waiting node runs, by key. ``is_loop`` returns whether a node has a loop body."""

    def __init__(
        self,
        parked: Mapping[NodeRunKey, Parked],
        is_loop: Callable[[NodeRunKey], bool],
    ) -> None:
        self._nodes: dict[NodeRunKey, Parked] = {}
        self._is_loop = is_loop
        self.loops: dict[NodeRunKey, Loop] = {}
        """The loops that wait for their items."""
        for key, node in parked.items():
            self.add(key, node)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[NodeRunKey]:
        return iter(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def add(self, key: NodeRunKey, node: Parked) -> None:
        """Add a node run that waits from now on."""
        self._nodes[key] = node
        if not isinstance(node, ParkedNode):
            return
        if self._is_loop(key) and (loop := Loop.of(node.result)):
            self.loops[key] = loop

    def take(self, key: NodeRunKey) -> Parked:
        """Remove a node run that no longer waits."""
        self.loops.pop(key, None)
        return self._nodes.pop(key)

    @property
    def can_be_resumed(self) -> bool:
        """Whether the journal may contain resumptions; loops are never resumed by callers."""
        return len(self._nodes) > len(self.loops)

    def next_due(
        self, *, retries: bool = True, queued: Container[NodeRunKey] = ()
    ) -> datetime | None:
        """Return the first due time; ``None`` if no node run has one.

        Without ``retries``, the due times of parked retries do not count. The ones in ``queued``
        never count, because they are due and wait for another node to end.
        """
        return min(
            (
                node.until
                for key, node in self._nodes.items()
                if node.until
                and not (isinstance(node, ParkedRetry) and (not retries or key in queued))
            ),
            default=None,
        )

    def apply(self, resumptions: Mapping[NodeRunKey, Resumption]) -> None:
        """Mark the node runs that were resumed; the next ``take_due`` returns them."""
        for key, resumption in resumptions.items():
            parked = self._nodes.get(key)
            if isinstance(parked, ParkedRetry):
                self._nodes[key] = ParkedRetry(parked.until, resumed=True)
            elif isinstance(parked, ParkedNode):
                self._nodes[key] = ParkedNode(parked.result, resumption)

    def children(self) -> dict[NodeRunKey, str]:
        """Return the child executions that node runs wait for, by key."""
        return {key: child for key, node in self._nodes.items() if (child := node.child_id)}

    def expired(self, now: datetime) -> list[NodeRunKey]:
        """Return the node runs whose time has passed and that something else may have resumed."""
        return [
            key
            for key, node in self._nodes.items()
            if isinstance(node, ParkedNode) and key not in self.loops and node.has_expired(now)
        ]

    def take_due(self, now: datetime) -> dict[NodeRunKey, Outcome]:
        """Remove the node runs that are due or resumed; return their outcomes."""
        due = {
            key: node
            for key, node in self._nodes.items()
            if isinstance(node, ParkedNode) and node.is_due(now)
        }
        for key in due:
            self.take(key)
        return {key: node.outcome() for key, node in due.items()}

    def due_retries(self, now: datetime) -> tuple[NodeRunKey, ...]:
        """Return the node runs whose next attempt may start, without removing them."""
        return tuple(
            key
            for key, node in self._nodes.items()
            if isinstance(node, ParkedRetry) and node.is_due(now)
        )

    def permit_waits(self) -> tuple[NodeRunKey, ...]:
        """Return the node runs that wait for a permit, without removing them."""
        return tuple(key for key, node in self._nodes.items() if isinstance(node, ParkedPermit))
