"""Data flow: the connections that are live, and the data that they pass on."""

from collections.abc import Mapping

from engine.document import Connection, Node
from engine.graph import DISABLED, Graph
from engine.json_values import JsonValue, is_list, is_object
from engine.options import NodeOptions, OnError
from engine.outcome import Outcome
from engine.ports import ERROR
from engine.status import NodeStatus

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
