"""Workflow documents for tests, written short."""

from collections.abc import Collection
from itertools import pairwise
from typing import Any

from engine import validation
from engine.document import Document, Reading
from engine.graph import Graph
from engine.ports import PortsOf, any_ports
from engine.problem_lists import NodeCheck
from engine.validation import TypeRules


def node(node_id: str, node_type: str = "output", **config: object) -> dict[str, Any]:
    """A node in the main project's spelling."""
    return {"id": node_id, "type": node_type, "label": node_id, "config": config}


def document(*nodes: dict[str, Any], flow: tuple[str, ...] = ()) -> dict[str, Any]:
    """Nodes and their connections: ``"a -> b"``, ``"a -true-> b"``, ``"a -> b:A"`` for a port."""
    connections: list[dict[str, Any]] = []
    for i, arrow in enumerate(flow):
        source, _, target = arrow.partition(">")
        source, _, label = source.strip().removesuffix("-").strip().partition(" -")
        target, _, port = target.strip().partition(":")
        connections.append(
            {
                "id": f"c{i}",
                "fromNodeId": source.strip(),
                "toNodeId": target,
                **({"outputType": label.strip()} if label else {}),
                **({"inputPort": port} if port else {}),
            }
        )
    return {"nodes": list(nodes), "connections": connections}


def validate(
    document: Document,
    known_types: Collection[str],
    check: NodeCheck,
    ports: PortsOf = any_ports,
) -> Graph:
    """The graph of a document that can run."""
    return validation.validate(Reading(document), TypeRules(known_types, check, ports)).graph


def line(length: int) -> dict[str, Any]:
    """A trigger, ``length`` - 2 nodes that add a field each, and an output, one after another."""
    middle = [
        node(f"n{i}", "addField", addFieldName=f"f{i}", addFieldValue=i) for i in range(length - 2)
    ]
    nodes = [node("start", "trigger"), *middle, node("end")]
    ids = [item["id"] for item in nodes]
    return document(*nodes, flow=tuple(f"{a} -> {b}" for a, b in pairwise(ids)))
