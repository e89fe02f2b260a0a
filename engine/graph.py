"""Graph: the nodes and connections of a document, indexed."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from engine.document import Connection, Document, Node
from engine.ports import Port, PortsOf, any_ports

COMMENT = "comment"
DISABLED = "(disabled)"
"""The type of disabled nodes in a graph. It is not registered, so that no document can
name it."""
TRIGGER = "trigger"
WEBHOOK = "webhook"
SCHEDULE = "schedule"
ENTRY_TYPES = frozenset({TRIGGER, WEBHOOK, SCHEDULE})
"""Node types whose roots run only when they are fired."""


@dataclass(frozen=True)
class Graph:
    """Indexes over a valid, normalized document (``engine.normalization``).

    Comments and disabled nodes without connections are not part of it.
    """

    document: Document
    ports: PortsOf = any_ports

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The nodes of a run, by id, in document order."""
        joined = {c.source for c in self.document.connections}
        joined |= {c.target for c in self.document.connections}
        return {
            node.id: node
            for node in self.document.nodes
            if node.type not in (COMMENT, DISABLED) or node.id in joined
        }

    def inputs(self, node_id: str) -> tuple[Port, ...]:
        """Return the declared inputs of a node."""
        return self.ports(self.nodes[node_id].type).inputs

    @cached_property
    def incoming(self) -> dict[str, list[Connection]]:
        """Connections by target, in document order."""
        index: dict[str, list[Connection]] = {node_id: [] for node_id in self.nodes}
        for connection in self.document.connections:
            index[connection.target].append(connection)
        return index

    @cached_property
    def outgoing(self) -> dict[str, list[Connection]]:
        """Connections by source, in document order."""
        index: dict[str, list[Connection]] = {node_id: [] for node_id in self.nodes}
        for connection in self.document.connections:
            index[connection.source].append(connection)
        return index

    @cached_property
    def roots(self) -> list[Node]:
        """The nodes without an incoming connection."""
        return [node for node in self.nodes.values() if not self.incoming[node.id]]

    def has_several_outputs(self, node_id: str) -> bool:
        """Return whether the type of a node declares several outputs."""
        return len(self.ports(self.nodes[node_id].type).outputs) > 1

    def is_entry(self, node: Node) -> bool:
        """Return whether a node runs at a root only if it is fired. Disabled ones are not."""
        return node.shown_type in ENTRY_TYPES

    def reachable(self, starts: Iterable[str]) -> set[str]:
        """Return the ids of ``starts`` and of all nodes downstream of them."""
        seen = set(starts)
        todo = list(seen)
        while todo:
            for connection in self.outgoing[todo.pop()]:
                if connection.target not in seen:
                    seen.add(connection.target)
                    todo.append(connection.target)
        return seen
