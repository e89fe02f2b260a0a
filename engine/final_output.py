"""Final output: the result of a run, or of one item of a loop, made of the outcomes of nodes."""

from engine.data_flow import is_live, node_output
from engine.graph import Graph
from engine.json_values import JsonValue
from engine.outcome import SKIPPED, ScopeOutcomes
from engine.status import NodeStatus

OUTPUT = "output"


def final_output(graph: Graph, outcomes: ScopeOutcomes) -> JsonValue:
    """Return the data of the output node that completed, or of several by node id.

    If no output node completed, return the outputs of the leaves by node id.
    """
    completed = _output_nodes(graph, outcomes)
    if len(completed) == 1:
        return next(iter(completed.values()))
    return completed or _leaves(graph, outcomes)


def item_output(graph: Graph, outcomes: ScopeOutcomes) -> tuple[JsonValue, int]:
    """Return the output of one item, and its size as far as the outcomes have one.

    It is like the final output, but the output of a single leaf is not put into an object.
    """
    ends = _output_nodes(graph, outcomes) or _leaves(graph, outcomes)
    size = sum(outcomes[node_id].size for node_id in ends)
    return (next(iter(ends.values())) if len(ends) == 1 else ends), size


def _output_nodes(graph: Graph, outcomes: ScopeOutcomes) -> dict[str, JsonValue]:
    return {
        node_id: outcome.output
        for node_id, node in graph.nodes.items()
        if node.type == OUTPUT
        and (outcome := outcomes.get(node_id))
        and outcome.status == NodeStatus.COMPLETED
    }


def _leaves(graph: Graph, outcomes: ScopeOutcomes) -> dict[str, JsonValue]:
    """Return the outputs of the nodes that ran and after which none ran, by node id."""
    leaves: dict[str, JsonValue] = {}
    for node_id in graph.nodes:
        outcome = outcomes.get(node_id, SKIPPED)
        if outcome.status == NodeStatus.SKIPPED:
            continue
        if not any(is_live(graph, following, outcome) for following in graph.outgoing[node_id]):
            leaves[node_id] = node_output(node_id, outcome)
    return leaves
