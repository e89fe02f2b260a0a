"""The nodes of a walk that are parked: when they fall due, and what comes of them then."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from engine.loops import Loop
from engine.parking import ParkedNode, Resumption
from engine.plan import Outcome


class ParkedNodes:
    """What waits in one execution, by node id."""

    def __init__(self, parked: Mapping[str, ParkedNode]) -> None:
        self._nodes = dict(parked)
        self.loops = {key: loop for key, node in parked.items() if (loop := Loop.of(node.result))}
        """Those that wait for the items of their loops."""

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def add(self, node_id: str, node: ParkedNode) -> None:
        """Has a node wait."""
        self._nodes[node_id] = node
        if loop := Loop.of(node.result):
            self.loops[node_id] = loop

    def take(self, node_id: str) -> ParkedNode:
        """Takes a node out: it waits no longer."""
        self.loops.pop(node_id, None)
        return self._nodes.pop(node_id)

    def next_due(self) -> datetime | None:
        """When the first of them goes on by itself; ``None`` where none does."""
        return min((node.until for node in self._nodes.values() if node.until), default=None)

    def tell(self, resumptions: Mapping[str, Resumption]) -> None:
        """Notes what was said to nodes that wait."""
        for node_id, resumption in resumptions.items():
            if parked := self._nodes.get(node_id):
                self._nodes[node_id] = ParkedNode(parked.result, resumption)

    def take_due(self, now: datetime) -> dict[str, Outcome]:
        """Takes out what may go on, by the clock or because somebody said so, and how it ends."""
        due = [node_id for node_id, node in self._nodes.items() if node.is_due(now)]
        return {node_id: self.take(node_id).outcome() for node_id in due}
