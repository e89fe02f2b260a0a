"""Plans for tests, drawn in one line, and how their nodes may end.

Workflows are spelled ``"t:trigger a:http"`` and ``"t>a c>true>b a>j.A"``: the second connection
leaves ``c`` at ``true``, the third enters ``j`` at port ``A``.
"""

from typing import Any

from engine.document import parse_document
from engine.graph import Graph
from engine.inputs import start_manually
from engine.normalization import normalize
from engine.plan import Outcome, ScopePlan
from engine.status import NodeStatus
from tasks.registry import DEFAULT


def graph(nodes: str, ways: str = "", **configs: dict[str, Any]) -> Graph:
    connections: list[dict[str, Any]] = []
    for way in ways.split():
        source, *output_type, end = way.split(">")
        target, _, port = end.partition(".")
        connections.append(
            {
                "fromNodeId": source,
                "toNodeId": target,
                "outputType": output_type[0] if output_type else None,
                "inputPort": port or None,
            }
        )
    return normalize(
        parse_document(
            {
                "nodes": [
                    {"id": node_id, "type": kind, "config": configs.get(node_id, {})}
                    for node_id, kind in (node.split(":") for node in nodes.split())
                ],
                "connections": connections,
            }
        ),
        DEFAULT.known,
        DEFAULT.ports,
    ).graph


def plan(nodes: str, ways: str = "", **configs: dict[str, Any]) -> ScopePlan:
    drawn = graph(nodes, ways, **configs)
    return ScopePlan(drawn, start_manually(drawn, None))


def done(output: Any = None, **result: Any) -> Outcome:
    return Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": output, **result})


def failed(reason: str = "broke") -> Outcome:
    return Outcome(NodeStatus.ERROR, error=reason)


WENT_TRUE = done({"age": 30}, conditionResult=True)
WENT_FALSE = done({"age": 3}, conditionResult=False)
ROWS = done([1, 2, 3], trueRecords=[1, 2], falseRecords=[3])
