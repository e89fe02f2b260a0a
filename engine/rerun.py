"""Rerun: decides which node runs of an execution are reused and which run again."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from engine.graph import Graph
from engine.inputs import RunStart
from engine.loops import Loops
from engine.node_run_key import ItemPath, NodeRunKey
from engine.outcome import Outcome, Outcomes
from engine.status import NodeStatus

_NOTHING = object()
_DONE = (NodeStatus.COMPLETED, NodeStatus.SKIPPED)


def changed_by_inputs(before: RunStart, after: RunStart) -> set[str]:
    """Return the nodes that run differently because of other inputs."""
    nodes = before.fired ^ after.fired
    for old, new in ((before.payloads, after.payloads), (before.values, after.values)):
        nodes |= {
            node_id
            for node_id in old.keys() | new.keys()
            if old.get(node_id, _NOTHING) != new.get(node_id, _NOTHING)
        }
    return set(nodes)


def changed_by_definition(before: Graph, after: Graph) -> set[str]:
    """Return the nodes that are new in a definition, or that differ from those of another one.

    The types, the configs and the connections to a node are compared, and the bodies of loops,
    because the result of a loop depends on its body. Labels and positions are not compared.
    """
    old, new = node_signatures(before), node_signatures(after)
    changed = {node_id for node_id, signature in new.items() if old.get(node_id) != signature}
    old_bodies = Loops(before).bodies
    changed |= {
        loop for loop, body in Loops(after).bodies.items() if body != old_bodies.get(loop, body)
    }
    return changed


_SIGNATURES = json.JSONEncoder(sort_keys=True, default=dict)


def node_signatures(graph: Graph) -> dict[str, str]:
    """Return a text for each node that is equal for equal nodes with equal incoming connections."""
    # Text, because ``1``, ``1.0`` and ``True`` are equal in Python.
    return {
        node_id: _SIGNATURES.encode(
            [
                node.type,
                node.declared_type,
                node.config,
                sorted(
                    (c.source, c.output_type or "", c.input_port or "")
                    for c in graph.incoming[node_id]
                ),
            ]
        )
        for node_id, node in graph.nodes.items()
    }


def reused_runs(
    graph: Graph,
    outcomes: Outcomes,
    from_node_id: str | None,
    changed: set[str],
    *,
    is_same_definition: bool = True,
) -> dict[NodeRunKey, Outcome]:
    """Return the completed node runs whose results a rerun reuses, in the order of their ends.

    A node runs again if it did not complete, if it is downstream of a node that runs again, and
    from ``from_node_id`` on. A skipped node is decided again, which alone makes no other node run.
    A loop that has not completed runs again and reuses the runs of its items. If the loop is
    downstream of a node that runs again, or a node inside it is named or has another input, all of
    the loop runs again.

    A rerun of an execution in which every node completed, without a named node and a changed
    input, reuses nothing, because no node is left from which it could continue. This does not apply
    to another definition, which may contain only nodes that completed.
    """
    loops = Loops(graph)
    named = {loops.around(node_id)[-1] for node_id in changed}
    if from_node_id is not None:
        named.add(loops.around(from_node_id)[-1])
    planner = _RerunPlanner(loops, outcomes)
    reused = planner.reused(None, (), named)
    if is_same_definition and not named and not planner.has_reruns:
        return {}
    return {key: outcome for key, outcome in outcomes.items() if key in reused}


@dataclass(slots=True)
class _RerunPlanner:
    """Searches the scopes of a graph for nodes that run again."""

    loops: Loops
    outcomes: Outcomes
    has_reruns: bool = False

    def reused(
        self, loop: str | None, path: ItemPath, named: Iterable[str] = ()
    ) -> set[NodeRunKey]:
        """Return the runs to reuse outside of all loops, or of one item of a loop."""
        graph = self.loops.scope(loop)
        keys = {node_id: self._key(node_id, path) for node_id in graph.nodes if node_id != loop}
        undone = {node_id for node_id, key in keys.items() if self._status(key) not in _DONE}
        named = set(named)
        self.has_reruns = self.has_reruns or bool(undone)
        repeated = graph.reachable(undone | named)
        upstream = graph.reachable(c.target for i in repeated for c in graph.outgoing[i])
        reused: set[NodeRunKey] = set()
        for node_id, key in keys.items():
            is_loop = node_id in self.loops.bodies
            if node_id not in repeated:
                if self._status(key) == NodeStatus.COMPLETED:
                    reused.add(key)
                    if is_loop:
                        reused |= self._completed_in(key)
            elif is_loop and node_id not in named | upstream:
                for item in self.loops.started_items(key, self.outcomes):
                    reused |= self.reused(node_id, (*path, item))
        return reused

    def _key(self, node_id: str, path: ItemPath) -> NodeRunKey:
        # Without loops, an id may look like the key of an item.
        return NodeRunKey(node_id, path) if self.loops.bodies else NodeRunKey.parse(node_id)

    def _status(self, key: NodeRunKey) -> NodeStatus | None:
        outcome = self.outcomes.get(key)
        return None if outcome is None else outcome.status

    def _completed_in(self, loop: NodeRunKey) -> set[NodeRunKey]:
        body, depth = self.loops.bodies[loop.node_id], len(loop.path)
        return {
            key
            for key, outcome in self.outcomes.items()
            if key.node_id in body
            and key.path[:depth] == loop.path
            and outcome.status == NodeStatus.COMPLETED
        }
