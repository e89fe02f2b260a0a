"""The nodes of a walk that are parked: when they fall due, and what comes of them then."""

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime

from engine.loops import Loop
from engine.parking import ParkedNode, ParkedRetry, Resumption
from engine.plan import Outcome


class ParkedNodes:
    """What waits in one execution, by node id. ``is_loop`` tells which nodes have a body."""

    def __init__(
        self, parked: Mapping[str, ParkedNode | ParkedRetry], is_loop: Callable[[str], bool]
    ) -> None:
        self._nodes: dict[str, ParkedNode | ParkedRetry] = {}
        self._is_loop = is_loop
        self.loops: dict[str, Loop] = {}
        """Those that wait for the items of their loops."""
        for node_id, node in parked.items():
            self.add(node_id, node)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def add(self, node_id: str, node: ParkedNode | ParkedRetry) -> None:
        """Has a node wait."""
        self._nodes[node_id] = node
        if isinstance(node, ParkedRetry):
            return
        if self._is_loop(node_id) and (loop := Loop.of(node.result)):
            self.loops[node_id] = loop

    def take(self, node_id: str) -> ParkedNode | ParkedRetry:
        """Takes a node out: it waits no longer."""
        self.loops.pop(node_id, None)
        return self._nodes.pop(node_id)

    @property
    def hear(self) -> bool:
        """Whether one of them may be told to go on; loops are told by nobody."""
        return len(self._nodes) > len(self.loops)

    def next_due(self, *, retries: bool = True, queued: Container[str] = ()) -> datetime | None:
        """When the first of them goes on by itself; ``None`` where none does.

        Without ``retries``, the next attempts of parked retries do not count. Those in ``queued``
        never do: they are due, and wait for another node to end.
        """
        return min(
            (
                node.until
                for node_id, node in self._nodes.items()
                if node.until
                and not (isinstance(node, ParkedRetry) and (not retries or node_id in queued))
            ),
            default=None,
        )

    def tell(self, resumptions: Mapping[str, Resumption]) -> None:
        """Notes what was said to nodes that wait."""
        for node_id, resumption in resumptions.items():
            parked = self._nodes.get(node_id)
            if isinstance(parked, ParkedRetry):
                self._nodes[node_id] = ParkedRetry(parked.until, resumed=True)
            elif parked is not None:
                self._nodes[node_id] = ParkedNode(parked.result, resumption)

    def children(self) -> dict[str, str]:
        """The executions that nodes called and that have not ended, by node id."""
        return {i: child for i, node in self._nodes.items() if (child := node.child_id)}

    def take_due(self, now: datetime) -> dict[str, Outcome]:
        """Takes out what may go on, by the clock or because somebody said so, and how it ends."""
        due = {
            node_id: node
            for node_id, node in self._nodes.items()
            if isinstance(node, ParkedNode) and node.is_due(now)
        }
        for node_id in due:
            self.take(node_id)
        return {node_id: node.outcome() for node_id, node in due.items()}

    def due_retries(self, now: datetime) -> tuple[str, ...]:
        """Return the nodes whose next attempt may start; they stay until they are taken."""
        return tuple(
            node_id
            for node_id, node in self._nodes.items()
            if isinstance(node, ParkedRetry) and node.is_due(now)
        )
