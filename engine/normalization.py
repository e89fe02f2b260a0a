"""Normalization: creates the graph that runs from a document as it was read.

Ports get their declared names. Duplicate connections, React Flow's groups, comments and disabled
nodes without connections, and nodes that are neither connected nor configured are removed. A
disabled node becomes one that passes its input on.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cache

from engine.document import Connection, Document, Node
from engine.errors import Problem
from engine.graph import COMMENT, DISABLED, Graph
from engine.ports import PortsOf, UnknownPortError, any_ports
from engine.problem_lists import config_key

GROUP = "group"
"""React Flow's frame around nodes. A registered node type of that name has precedence."""
_KEPT_WHEN_DISABLED = "hideData"

IsIncomplete = Callable[[Node], bool]
"""Returns whether a node that has no connections lacks a setting that it needs."""


def never_incomplete(_node: Node) -> bool:
    """Return false: a node has all settings."""
    return False


@dataclass(slots=True)
class Normalized:
    """The graph of a document, and its problems."""

    graph: Graph
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])


def _once_for_each_config(is_incomplete: IsIncomplete) -> IsIncomplete:
    """Return a function that checks equal configs of one type once."""
    results: dict[tuple[str, str], bool] = {}

    def check(node: Node) -> bool:
        key = (node.type, config_key(node.config))
        if key not in results:
            results[key] = is_incomplete(node)
        return results[key]

    return check


def normalize(
    document: Document,
    known_types: Collection[str],
    ports: PortsOf = any_ports,
    is_incomplete: IsIncomplete = never_incomplete,
) -> Normalized:
    """Return the graph of a document. It can only run if the document has no problems."""
    groups = {node.id for node in document.nodes if node.type == GROUP and GROUP not in known_types}
    ports = cache(ports)
    nodes = {node.id: node for node in document.nodes}
    problems = list(_group_connections(document, groups))
    connections: dict[tuple[str, str, str | None, str | None], Connection] = {}
    for connection in document.connections:
        if connection.source in groups or connection.target in groups:
            continue
        named, unknown = _with_ports(connection, nodes, ports)
        problems.extend(unknown)
        ends = (named.source, named.target, named.output_type, named.input_port)
        connections.setdefault(ends, named)
    unused = _unused(document, groups, known_types, _once_for_each_config(is_incomplete))
    graph = Graph(
        Document(
            tuple(
                _pass_through(node) if node.disabled else node
                for node in document.nodes
                if node.id not in groups and node.id not in unused
            ),
            tuple(connections.values()),
        ),
        ports,
    )
    left_out = groups | unused
    warnings = [_warning(node, groups) for node in document.nodes if node.id in left_out]
    return Normalized(graph, problems, warnings)


def _with_ports(
    connection: Connection, nodes: dict[str, Node], ports: PortsOf
) -> tuple[Connection, list[Problem]]:
    source, target = nodes.get(connection.source), nodes.get(connection.target)
    output, entry = connection.output_type, connection.input_port
    problems: list[Problem] = []
    if source is not None:
        declared = ports(source.type)
        try:
            output = declared.output_named(output)
        except UnknownPortError as error:
            problems.append(_unknown_port(connection, source, "output", error))
            output = None
        if source.disabled and output in declared.passing():
            output = None
    if target is not None:
        try:
            entry = ports(target.type).input_named(entry)
        except UnknownPortError as error:
            problems.append(_unknown_port(connection, target, "input", error))
            entry = None
    if (output, entry) != (connection.output_type, connection.input_port):
        connection = replace(connection, output_type=output, input_port=entry)
    return connection, problems


def _unknown_port(
    connection: Connection, node: Node, kind: str, error: UnknownPortError
) -> Problem:
    name = connection.output_type if kind == "output" else connection.input_port
    where = connection.output_pointer if kind == "output" else connection.input_pointer
    known = [*error.known, "error"] if kind == "output" else error.known
    detail = (
        f"connection '{connection.id}': node '{node.id}' ({node.type}) has no {kind} '{name}'; "
        f"known are: {', '.join(known)}"
    )
    return Problem("unknown_port", detail, where, node.id, connection.id)


def _group_connections(document: Document, groups: Collection[str]) -> Iterable[Problem]:
    for connection in document.connections:
        for node_id in (connection.source, connection.target):
            if node_id in groups:
                detail = (
                    f"connection '{connection.id}' is attached to the group '{node_id}', which is "
                    "not part of an execution: connect the nodes inside it"
                )
                yield Problem(
                    "group_connection", detail, connection.pointer, node_id, connection.id
                )


def _unused(
    document: Document,
    groups: set[str],
    known_types: Collection[str],
    is_incomplete: IsIncomplete,
) -> frozenset[str]:
    """Return the nodes that are neither connected nor configured.

    If no other node could run, return none of them, so that validation reports their problems.
    """
    connected = {c.source for c in document.connections} | {c.target for c in document.connections}
    alone = [node for node in document.nodes if node.id not in connected and node.id not in groups]
    unused = frozenset(node.id for node in alone if not node.disabled and is_incomplete(node))
    out = {node.id for node in alone if node.disabled or node.type == COMMENT} | unused | groups
    known = set(known_types)
    if any(node.id not in out and (node.disabled or node.type in known) for node in document.nodes):
        return unused
    return frozenset()


def _warning(node: Node, groups: Collection[str]) -> Problem:
    if node.id in groups:
        detail = f"node '{node.id}' is a group: it is not part of an execution"
        return Problem("group_node", detail, node.pointer, node.id)
    detail = (
        f"node '{node.id}' ({node.type}) has no connections and its config is incomplete: "
        "it is not part of an execution"
    )
    return Problem("unused_node", detail, node.pointer, node.id)


def _pass_through(node: Node) -> Node:
    """Return a disabled node in the form that passes its input on."""
    config = {key: value for key, value in node.config.items() if key == _KEPT_WHEN_DISABLED}
    return replace(node, type=DISABLED, declared_type=node.type, config=config)
