"""Loops: the part of a graph that a ``forEach`` node runs once for each item of a list.

The body of a loop is everything downstream of the node's ``item`` connections; what follows the
loop hangs on its other connections. A node run inside a body goes by a key: the node's id with the
item's place behind it, ``fetch[3]``; in a loop inside that item ``fetch[3][0]``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from engine.document import Document
from engine.errors import Problem
from engine.graph import Graph
from engine.json_values import JsonValue, is_list, is_object
from engine.parking import PARK

FOR_EACH = "forEach"
ITEM = "item"
"""The ``outputType`` of the connections that lead into a body."""
IN_LOOP = "forEach"
"""Key in a handler's ``park``: its ``outputData`` is the list to go through, and the value is
``{"concurrency", "onError"}``."""

_PLACES = re.compile(r"(?:\[\d+\])+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that has begun."""

    items: list[JsonValue]
    concurrency: int = 1
    """How many items may be under way at once."""
    goes_on: bool = False
    """Whether the others go on where an item fails."""

    @classmethod
    def of(cls, result: Mapping[str, JsonValue]) -> "Loop | None":
        """The loop that a handler's result begins; ``None`` where it begins none."""
        park = result.get(PARK)
        options = park.get(IN_LOOP) if is_object(park) else None
        items = result.get("outputData")
        if not is_object(options) or not is_list(items):
            return None
        concurrency = max(1, int(options.get("concurrency", 1)))
        return cls(items, concurrency, options.get("onError") == "continue")


ActiveLoops = Mapping[str, Loop]
"""The loops that have begun and not ended, by key."""


def in_item(key: str, item: int) -> str:
    """The key, or the places of a key, one item deeper."""
    return f"{key}[{item}]"


def split_key(key: str) -> tuple[str, str]:
    """A key as the node's id and its places: ``fetch[3][0]`` is ``fetch`` and ``[3][0]``."""
    found = _PLACES.search(key)
    return (key, "") if found is None else (key[: found.start()], found[0])


def outer(places: str) -> tuple[str, int]:
    """Places as those around them and the innermost: ``[3][0]`` is ``[3]`` and ``0``."""
    around, _, item = places[:-1].rpartition("[")
    return around, int(item)


def items_of(body: frozenset[str], places: str, keys: Iterable[str]) -> set[int]:
    """The items of a loop, by its body and its own places, of which ``keys`` name a run."""
    found: set[int] = set()
    for key in keys:
        node_id, inside = split_key(key)
        if node_id in body and inside.startswith(f"{places}["):
            found.add(int(inside[len(places) + 1 :].partition("]")[0]))
    return found


@dataclass(frozen=True)
class Loops:
    """The loops of a graph, and which nodes belong to which."""

    graph: Graph

    @cached_property
    def bodies(self) -> dict[str, frozenset[str]]:
        """The nodes of each loop's body, inner loops and their bodies among them."""
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
    def around(self) -> dict[str, str]:
        """The innermost loop around each node that is in one."""
        found: dict[str, str] = {}
        for loop, body in sorted(self.bodies.items(), key=lambda item: -len(item[1])):
            found.update(dict.fromkeys(body, loop))
        return found

    def outermost(self, node_id: str) -> str:
        """The outermost loop around a node; the node itself where it is in none."""
        while node_id in self.around:
            node_id = self.around[node_id]
        return node_id

    def depth(self, node_id: str) -> int:
        """How many loops are around a node."""
        found = 0
        while node_id in self.around:
            node_id = self.around[node_id]
            found += 1
        return found

    def scope(self, loop: str | None) -> Graph:
        """The part of the graph that is run as one: the outside of all loops, or one body.

        A body has its loop as its root, which brings the item; of an inner loop it has the node
        alone.
        """
        own = {i for i in self.graph.nodes if self.around.get(i) == loop}
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
        """What keeps the loops from running."""
        if not self.bodies:
            return
        yield from self._ids()
        yield from self._ways_in()

    def _ids(self) -> Iterable[Problem]:
        for node in self.graph.document.nodes:
            if split_key(node.id)[1]:
                detail = (
                    f"node id '{node.id}' ends like the name of a run inside a loop, and the "
                    "workflow has loops: leave out the brackets"
                )
                yield Problem("reserved_node_id", detail, f"{node.pointer}/id", node.id)

    def _ways_in(self) -> Iterable[Problem]:
        for connection in self.graph.document.connections:
            for loop, body in self.bodies.items():
                inside = connection.source in body or (
                    connection.source == loop and connection.output_type == ITEM
                )
                if connection.target in body and not inside:
                    detail = (
                        f"connection '{connection.id}' leads from '{connection.source}' into the "
                        f"loop of '{loop}', where only its '{ITEM}' connections lead in: "
                        f"a template such as {{{{ nodes.{connection.source}.output }}}} can "
                        "bring what is outside"
                    )
                    if connection.source == loop:
                        detail = (
                            f"connection '{connection.id}' leads from '{loop}' to "
                            f"'{connection.target}', which is inside its loop, and has not the "
                            f"outputType '{ITEM}'"
                        )
                    yield Problem(
                        "invalid_loop_entry", detail, connection.pointer, loop, connection.id
                    )
                    break
