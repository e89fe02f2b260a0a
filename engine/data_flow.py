"""Data flow: the connections that are live, the data that they pass on, and the final output."""

from collections.abc import Mapping

from engine.document import Connection, Node
from engine.graph import DISABLED, Graph
from engine.json_values import JsonValue, is_list, is_object
from engine.options import NodeOptions, OnError
from engine.outcome import SKIPPED, Outcome, ScopeOutcomes
from engine.ports import ERROR
from engine.status import NodeStatus

OUTPUT = "output"
"""The node type whose data is the final output."""
PORT_DATA = "portData"
"""Key of a handler's result: an object with the data of each output port that is live; ``true`` if
``outputData`` is that object."""


def error_mode(node: Node) -> OnError:
    """Return how the run continues if the node fails."""
    return NodeOptions.model_validate(node.config).on_error or OnError.STOP


def is_live(graph: Graph, connection: Connection, outcome: Outcome) -> bool:
    """Return whether ``connection``, whose source ended with ``outcome``, passes data on."""
    if outcome.status == NodeStatus.SKIPPED:
        return False
    source, port = graph.nodes[connection.source], connection.output_type
    if outcome.status == NodeStatus.ERROR:
        mode = error_mode(source)
        return mode == OnError.CONTINUE or (mode == OnError.BRANCH and port == ERROR)
    if port is None:
        return True
    if port == ERROR or source.type == DISABLED:
        return False
    branches = branches_of(outcome.result)
    return branches is None or port in branches


def passed_value(connection: Connection, outcome: Outcome) -> JsonValue:
    """Return the data that a live ``connection`` passes on."""
    if outcome.status == NodeStatus.COMPLETED and connection.output_type is not None:
        branches = branches_of(outcome.result) or {}
        if connection.output_type in branches:
            return branches[connection.output_type]
    return node_output(connection.source, outcome)


def node_output(node_id: str, outcome: Outcome) -> JsonValue:
    """Return the output of a node; of a failed one it is an object that describes the error."""
    if outcome.status == NodeStatus.ERROR:
        return {"error": {"nodeId": node_id, "message": outcome.error, **outcome.result}}
    return outcome.output


def branches_of(result: Mapping[str, JsonValue]) -> Mapping[str, JsonValue] | None:
    """Return the data of each live output port of a result; ``None`` if all ports are alike."""
    ports = result.get(PORT_DATA)
    if ports is True:
        ports = result.get("outputData")
    if ports is not None and is_object(ports):
        return ports
    if "trueRecords" in result or "falseRecords" in result:
        sides = {"true": result.get("trueRecords"), "false": result.get("falseRecords")}
        rows = {side: records for side, records in sides.items() if is_list(records)}
        if rows:
            return {side: records for side, records in rows.items() if records}
    condition = result.get("conditionResult")
    if isinstance(condition, bool):
        return {"true" if condition else "false": result.get("outputData")}
    return None


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
