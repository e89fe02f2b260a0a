"""The nodes of a walk that are parked: when they fall due, and what comes of them then."""

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime

from engine.loops import Loop
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import ParkedNode, ParkedRetry, Resumption


class ParkedNodes:
    """What waits in one execution, by key. ``is_loop`` tells which nodes have a body."""

    def __init__(
        self,
        parked: Mapping[NodeRunKey, ParkedNode | ParkedRetry],
        is_loop: Callable[[NodeRunKey], bool],
    ) -> None:
        self._nodes: dict[NodeRunKey, ParkedNode | ParkedRetry] = {}
        self._is_loop = is_loop
        self.loops: dict[NodeRunKey, Loop] = {}
        """Those that wait for the items of their loops."""
        for key, node in parked.items():
            self.add(key, node)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[NodeRunKey]:
        return iter(self._nodes)

    def __reversed__(self) -> Iterator[NodeRunKey]:
        return reversed(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def add(self, key: NodeRunKey, node: ParkedNode | ParkedRetry) -> None:
        """Has a node wait."""
        self._nodes[key] = node
        if isinstance(node, ParkedRetry):
            return
        if self._is_loop(key) and (loop := Loop.of(node.result)):
            self.loops[key] = loop

    def take(self, key: NodeRunKey) -> ParkedNode | ParkedRetry:
        """Takes a node out: it waits no longer."""
        self.loops.pop(key, None)
        return self._nodes.pop(key)

    @property
    def hear(self) -> bool:
        """Whether one of them may be told to go on; loops are told by nobody."""
        return len(self._nodes) > len(self.loops)

    def next_due(
        self, *, retries: bool = True, queued: Container[NodeRunKey] = ()
    ) -> datetime | None:
        """When the first of them goes on by itself; ``None`` where none does.

        Without ``retries``, the next attempts of parked retries do not count. Those in ``queued``
        never do: they are due, and wait for another node to end.
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

    def tell(self, resumptions: Mapping[NodeRunKey, Resumption]) -> None:
        """Notes what was said to nodes that wait."""
        for key, resumption in resumptions.items():
            parked = self._nodes.get(key)
            if isinstance(parked, ParkedRetry):
                self._nodes[key] = ParkedRetry(parked.until, resumed=True)
            elif parked is not None:
                self._nodes[key] = ParkedNode(parked.result, resumption)

    def children(self) -> dict[NodeRunKey, str]:
        """The executions that nodes called and that have not ended, by key."""
        return {i: child for i, node in self._nodes.items() if (child := node.child_id)}

    def take_due(self, now: datetime) -> dict[NodeRunKey, Outcome]:
        """Takes out what may go on, by the clock or because somebody said so, and how it ends."""
        due = {
            key: node
            for key, node in self._nodes.items()
            if isinstance(node, ParkedNode) and node.is_due(now)
        }
        for key in due:
            self.take(key)
        return {key: node.outcome() for key, node in due.items()}

    def due_retries(self, now: datetime) -> tuple[NodeRunKey, ...]:
        """Return the nodes whose next attempt may start; they stay until they are taken."""
        return tuple(
            key
            for key, node in self._nodes.items()
            if isinstance(node, ParkedRetry) and node.is_due(now)
        )
