"""Running an execution again: which of its nodes are taken over, and which run once more."""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.graph import Graph
from engine.inputs import RunStart
from engine.loops import Loops, in_item, items_of, split_key
from engine.plan import Outcome, Outcomes
from engine.status import NodeStatus

_NOTHING = object()
_DONE = (NodeStatus.COMPLETED, NodeStatus.SKIPPED)


def changed_by_inputs(before: RunStart, after: RunStart) -> set[str]:
    """The nodes that other inputs make run differently."""
    nodes = before.fired ^ after.fired
    for old, new in ((before.payloads, after.payloads), (before.values, after.values)):
        nodes |= {
            node_id
            for node_id in old.keys() | new.keys()
            if old.get(node_id, _NOTHING) != new.get(node_id, _NOTHING)
        }
    return set(nodes)


def taken_over(
    graph: Graph, outcomes: Outcomes, from_node_id: str | None, changed: set[str]
) -> dict[str, Outcome]:
    """The completed node runs whose results a rerun takes over, in the order in which they ended.

    A node runs again when it did not complete, when it lies downstream of one that runs again, and
    from ``from_node_id`` on. A skipped node is decided anew, and by itself makes no other run.
    A loop that has not completed goes through its list again, and takes over what its items have;
    where it lies downstream of what runs again, or a node inside it is named or has another input,
    all of it runs again.

    A rerun of an execution in which every node completed, with no node named and no input changed,
    takes nothing over: there is no place from which it would go on.
    """
    loops = Loops(graph)
    named = {loops.outermost(node_id) for node_id in changed}
    if from_node_id is not None:
        named.add(loops.outermost(from_node_id))
    again = _RerunPlanner(loops, outcomes)
    kept = again.keep(None, "", named)
    if not named and not again.found:
        return {}
    return {key: outcome for key, outcome in outcomes.items() if key in kept}


@dataclass(slots=True)
class _RerunPlanner:
    """Looks for what runs again."""

    loops: Loops
    outcomes: Outcomes
    found: bool = False
    """Whether anything does."""

    def keep(self, loop: str | None, places: str, named: Iterable[str] = ()) -> set[str]:
        """The keys of what is kept of the outside of all loops, or of one item of a loop."""
        graph = self.loops.scope(loop)
        own = [node_id for node_id in graph.nodes if node_id != loop]
        undone = {node_id for node_id in own if self._status(node_id, places) not in _DONE}
        named = set(named)
        self.found = self.found or bool(undone)
        repeated = graph.reachable(undone | named)
        upstream = graph.reachable(c.target for i in repeated for c in graph.outgoing[i])
        kept: set[str] = set()
        for node_id in own:
            key, body = f"{node_id}{places}", self.loops.bodies.get(node_id)
            if node_id not in repeated:
                if self._status(node_id, places) == NodeStatus.COMPLETED:
                    kept |= self._whole(key, body)
            elif body is not None and node_id not in named | upstream:
                for item in items_of(body, places, self.outcomes):
                    kept |= self.keep(node_id, in_item(places, item))
        return kept

    def _status(self, node_id: str, places: str) -> NodeStatus | None:
        outcome = self.outcomes.get(f"{node_id}{places}")
        return None if outcome is None else outcome.status

    def _whole(self, key: str, body: frozenset[str] | None) -> set[str]:
        """A node run that is kept, of a loop with all that completed in it."""
        kept = {key}
        places = split_key(key)[1]
        for other, outcome in self.outcomes.items() if body else ():
            node_id, inside = split_key(other)
            within = node_id in (body or ()) and inside.startswith(places)
            if within and outcome.status == NodeStatus.COMPLETED:
                kept.add(other)
        return kept
