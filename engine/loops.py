"""Loops: the parts of a graph that a ``forEach`` node runs once for each item of a list.

The body of a loop is everything downstream of the node's ``item`` connections. The nodes after the
loop are attached to its other connections.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from engine.document import Connection, Document
from engine.errors import Problem
from engine.graph import Graph
from engine.json_values import JsonValue, is_list, is_object
from engine.node_run_key import NodeRunKey
from engine.parking import PARK

FOR_EACH = "forEach"
ITEM = "item"
"""The ``outputType`` of the connections into a body."""
IN_LOOP = "forEach"
"""Key in a handler's ``park``: its ``outputData`` is the list of items, and the value is
``{"concurrency", "onError"}``."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that has started."""

    items: list[JsonValue]
    concurrency: int = 1
    """Maximum number of items in progress at the same time."""
    continues_on_error: bool = False
    """Whether the other items run if one fails."""

    @classmethod
    def of(cls, result: Mapping[str, JsonValue]) -> "Loop | None":
        """Return the loop that a handler's result starts, or ``None``."""
        park = result.get(PARK)
        options = park.get(IN_LOOP) if is_object(park) else None
        items = result.get("outputData")
        if not is_object(options) or not is_list(items):
            return None
        concurrency = max(1, int(options.get("concurrency", 1)))
        return cls(items, concurrency, options.get("onError") == "continue")


ActiveLoops = Mapping[NodeRunKey, Loop]
"""The loops that have started and not ended."""


@dataclass(frozen=True)
class Loops:
    """The loops of a graph and their bodies."""

    graph: Graph

    @cached_property
    def bodies(self) -> dict[str, frozenset[str]]:
        """The nodes of each loop's body, with inner loops and their bodies."""
        return {
            node.id: frozenset(
                self.graph.reachable(
                    c.target for c in self.graph.outgoing[node.id] if c.output_type == ITEM
                )
            )
            for node in self.graph.nodes.values()
            if node.type == FOR_EACH
        }

    @cached_property
    def enclosing(self) -> dict[str, str]:
        """The innermost loop around each node that is inside a loop."""
        found: dict[str, str] = {}
        for loop, body in sorted(self.bodies.items(), key=lambda item: -len(item[1])):
            found.update(dict.fromkeys(body, loop))
        return found

    def enclosing_run(self, key: NodeRunKey) -> NodeRunKey | None:
        """Return the run of the innermost loop around a node run."""
        loop = self.enclosing.get(key.node_id) if key.path else None
        return None if loop is None else NodeRunKey(loop, key.path[:-1])

    def around(self, node_id: str) -> list[str]:
        """Return a node and the loops around it, from the inside to the outside."""
        found = [node_id]
        while found[-1] in self.enclosing:
            found.append(self.enclosing[found[-1]])
        return found

    def started_items(self, loop: NodeRunKey, keys: Iterable[NodeRunKey]) -> set[int]:
        """Return the items of a loop run for which ``keys`` contain a node run."""
        body, depth = self.bodies[loop.node_id], len(loop.path)
        return {
            key.path[depth]
            for key in keys
            if key.node_id in body and len(key.path) > depth and key.path[:depth] == loop.path
        }

    def scope(self, loop: str | None) -> Graph:
        """Return the graph outside of all loops, or of the body of one loop.

        The root of a body is its loop, whose output is the item. Of an inner loop it contains only
        the node.
        """
        own = {i for i in self.graph.nodes if self.enclosing.get(i) == loop}
        document = self.graph.document
        return Graph(
            Document(
                tuple(n for n in self.graph.nodes.values() if n.id in own or n.id == loop),
                tuple(
                    c
                    for c in document.connections
                    if c.target in own
                    and (c.source in own or (c.source == loop and c.output_type == ITEM))
                ),
            ),
            self.graph.ports,
        )

    def problems(self) -> Iterable[Problem]:
        """Yield the problems because of which the loops cannot run."""
        if self.bodies:
            yield from self._reserved_ids()
            yield from self._invalid_entries()

    def _reserved_ids(self) -> Iterable[Problem]:
        for node in self.graph.document.nodes:
            if NodeRunKey.parse(node.id).path:
                detail = (
                    f"node id '{node.id}' ends like the id of a node run inside a loop, and the "
                    "workflow has loops; remove the brackets"
                )
                yield Problem("reserved_node_id", detail, f"{node.pointer}/id", node.id)

    def _invalid_entries(self) -> Iterable[Problem]:
        for connection in self.graph.document.connections:
            for loop, body in self.bodies.items():
                inside = connection.source in body or (
                    connection.source == loop and connection.output_type == ITEM
                )
                if connection.target in body and not inside:
                    detail = _describe_entry(connection, loop)
                    yield Problem(
                        "invalid_loop_entry", detail, connection.pointer, loop, connection.id
                    )
                    break


def _describe_entry(connection: Connection, loop: str) -> str:
    if connection.source == loop:
        return (
            f"connection '{connection.id}' leads from '{loop}' to '{connection.target}' inside its "
            f"loop, and does not have the outputType '{ITEM}'"
        )
    return (
        f"connection '{connection.id}' leads from '{connection.source}' into the loop of '{loop}', "
        f"which only its '{ITEM}' connections may enter; a template such as "
        f"{{{{ nodes.{connection.source}.output }}}} can use data from outside"
    )
