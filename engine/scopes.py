"""Scopes: the part of a graph outside of all loops, and the body of each loop.

A body runs once for each item of its loop, so a node of it has several runs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from engine.graph import Graph
from engine.inputs import RunStart
from engine.json_values import JsonValue
from engine.loop_states import LoopStates
from engine.loops import Loops
from engine.node_run_key import ItemPath, NodeRunKey
from engine.outcome import Outcome, Outcomes
from engine.scope_plan import ScopePlan
from engine.status import NodeStatus

_NONE: Outcomes = {}


@dataclass(eq=False, slots=True)
class ScopeView(Mapping[str, Outcome]):
    """The outcomes of one scope by node id, taken from all outcomes of a run."""

    graph: Graph
    key_of: Callable[[str], NodeRunKey]
    """Returns the key of a node's run in the scope."""
    outcomes: Outcomes
    decided: Outcomes
    """Outcomes that are not in ``outcomes`` yet."""
    item: tuple[str, Outcome] | None = None
    """In the body of a loop, the id of the loop and an outcome with the item as output."""

    def __getitem__(self, node_id: str) -> Outcome:
        outcome = self.outcomes.get(self.key_of(node_id)) or self._find(node_id)
        if outcome is None:
            raise KeyError(node_id)
        return outcome

    def __iter__(self) -> Iterator[str]:
        return (node_id for node_id in self.graph.nodes if self._find(node_id) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, node_id: object) -> bool:
        node_id = str(node_id)
        return self.key_of(node_id) in self.outcomes or self._find(node_id) is not None

    def _find(self, node_id: str) -> Outcome | None:
        if self.item is not None and node_id == self.item[0]:
            return self.item[1]
        key = self.key_of(node_id)
        outcome = self.outcomes.get(key)
        return self.decided.get(key) if outcome is None and self.decided else outcome

    @property
    def is_complete(self) -> bool:
        """Whether every node of the scope is decided."""
        return all(self._find(node_id) is not None for node_id in self.graph.nodes)


@dataclass(frozen=True)
class Scopes:
    """The plans of the scopes of one run, and views of the outcomes of a scope."""

    graph: Graph
    start: RunStart

    @cached_property
    def loops(self) -> Loops:
        """The loops of the graph."""
        return Loops(self.graph)

    @cached_property
    def root(self) -> ScopePlan:
        """The plan of the scope outside of all loops."""
        return ScopePlan(self.loops.scope(None) if self.loops.bodies else self.graph, self.start)

    @cached_property
    def bodies(self) -> dict[str, ScopePlan]:
        """The plan of each loop's body."""
        start = RunStart(frozenset(), {}, self.start.values)
        return {loop: ScopePlan(self.loops.scope(loop), start) for loop in self.loops.bodies}

    @cached_property
    def root_keys(self) -> dict[str, NodeRunKey]:
        """The keys of the nodes outside of all loops, by node id.

        Without loops, an id such as ``a[1]`` is valid; its key is parsed as that of a loop's item.
        """
        key_of = NodeRunKey if self.loops.bodies else NodeRunKey.parse
        return {node_id: key_of(node_id) for node_id in self.root.graph.nodes}

    @cached_property
    def root_ids(self) -> dict[NodeRunKey, str]:
        """The ids of the nodes outside of all loops, by key."""
        return {key: node_id for node_id, key in self.root_keys.items()}

    def root_view(self, outcomes: Outcomes, decided: Outcomes = _NONE) -> ScopeView:
        """Return the outcomes outside of all loops."""
        return ScopeView(self.root.graph, self.root_keys.__getitem__, outcomes, decided)

    def item_view(
        self,
        loop: str,
        path: ItemPath,
        item: JsonValue,
        outcomes: Outcomes,
        decided: Outcomes = _NONE,
    ) -> ScopeView:
        """Return the outcomes of a loop's body for the ``item`` at ``path``."""
        return ScopeView(
            self.bodies[loop].graph,
            lambda node_id: NodeRunKey(node_id, path),
            outcomes,
            decided,
            (loop, Outcome(NodeStatus.COMPLETED, {"outputData": item})),
        )

    def scope_of(
        self, key: NodeRunKey, outcomes: Outcomes, states: LoopStates
    ) -> tuple[ScopePlan, str, ScopeView]:
        """Return the scope of a node run, the id of the node, and the outcomes of the scope."""
        node_id = self.root_ids.get(key)
        if node_id is not None:
            return self.root, node_id, self.root_view(outcomes)
        loop = self.loops.enclosing[key.node_id]
        view = self.item_view(loop, key.path, states.item_of(key), outcomes)
        return self.bodies[loop], key.node_id, view
