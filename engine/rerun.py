"""Running an execution again: which of its nodes are taken over, and which run once more."""

from engine.graph import Graph
from engine.inputs import Start
from engine.plan import Outcome, Outcomes
from engine.status import NodeStatus

_NOTHING = object()


def changed_by_inputs(before: Start, after: Start) -> set[str]:
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
    """The completed nodes whose results a rerun takes over, in the order in which they ended.

    A node runs again when it did not complete, when it lies downstream of one that runs again, and
    from ``from_node_id`` on. A skipped node is decided anew, and by itself makes no other run.

    A rerun of an execution in which every node completed, with no node named and no input changed,
    takes nothing over: there is no place from which it would go on.
    """
    kept = (NodeStatus.COMPLETED, NodeStatus.SKIPPED)
    again = {
        node_id
        for node_id in graph.nodes
        if node_id not in outcomes or outcomes[node_id].status not in kept
    }
    again |= changed
    if from_node_id is not None:
        again.add(from_node_id)
    if not again:
        return {}
    repeated = graph.reachable(again)
    return {
        node_id: outcome
        for node_id, outcome in outcomes.items()
        if outcome.status == NodeStatus.COMPLETED and node_id not in repeated
    }
