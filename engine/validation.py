"""Validation: finds all reasons why a document cannot run."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from engine.document import (
    Document,
    Node,
    Reading,
    parse_document,
    read_document,
)
from engine.errors import InvalidDocumentError, Problem
from engine.graph import COMMENT, DISABLED, ENTRY_TYPES, Graph
from engine.json_values import JsonValue
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.loops import Loops
from engine.normalization import IsIncomplete, Normalized, never_incomplete, normalize
from engine.ports import PortsOf, any_ports
from engine.problem_lists import ConfigChecks, NodeCheck, ProblemList

MAX_CYCLES = 10
"""Maximum number of cycles of a document that an error lists."""

MAX_NODE_ID_CHARS = 500
"""Maximum length of a node id, in characters; PostgreSQL limits keys to 2,704 bytes."""

_CONTROL = re.compile(r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]")
_LINE_BREAKS = "\r\n\u0085\u2028\u2029"

_NO_GRAPH = frozenset(
    {
        "invalid_document",
        "duplicate_node_id",
        "dangling_connection",
        "group_connection",
        "unknown_port",
        "cycle",
    }
)
"""Problems because of which loops have no defined body."""


@dataclass(frozen=True, slots=True)
class TypeRules:
    """The rules of the registered node types for the nodes of a document."""

    known: Collection[str]
    check: NodeCheck
    ports: PortsOf = any_ports
    is_incomplete: IsIncomplete = never_incomplete


def read_graph(data: JsonValue, rules: TypeRules) -> Graph:
    """Return the graph of a stored document, which was validated when it was submitted.

    Raises an ``InvalidDocumentError`` if it cannot be read.
    """
    return normalize(parse_document(data), rules.known, rules.ports, rules.is_incomplete).graph


def read_and_validate(
    data: JsonValue,
    rules: TypeRules,
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS,
) -> Normalized:
    """Validate a document as it was sent, as JSON text or as a value.

    The error contains the problems of the parts with a wrong shape and those of the other parts,
    but not the problems that result from a wrong shape.

    Raises:
        InvalidDocumentError: If it cannot run; ``problems`` contains the reasons.
    """
    return validate(read_document(data, limits), rules)


def validate(reading: Reading, rules: TypeRules) -> Normalized:
    """Validate a document like ``read_and_validate``, or raise an ``InvalidDocumentError``."""
    document = reading.document
    normalized = normalize(document, rules.known, rules.ports, rules.is_incomplete)
    graph = normalized.graph
    running = graph.document
    readable = [
        node
        for node in running.nodes
        if node.pointer not in reading.incomplete_nodes and not node.disabled
    ]
    problems = ProblemList()
    problems.extend(reading.problems)
    problems.extend(_invalid_ids(document))
    problems.extend(_duplicate_ids(document))
    if reading.has_all_nodes:
        problems.extend(_dangling_connections(document))
    problems.extend(normalized.problems)
    problems.extend(_cycles(document))
    if not reading.problems:
        problems.extend(_no_entry(running))
    problems.extend(_unknown_types(readable, rules.known))
    checks = ConfigChecks(rules.check)
    checks.run((node for node in readable if node.type in rules.known), problems)
    if not problems.codes & _NO_GRAPH:
        problems.extend(Loops(graph).problems())
    if problems.count:
        raise InvalidDocumentError(
            problems.first, normalized.warnings, problems.more, checks.unchecked
        )
    return normalized


def _invalid_ids(document: Document) -> Iterable[Problem]:
    """Yield the problems of ids that a database cannot store as part of a key."""
    for node in document.nodes:
        detail = None
        if len(node.id) > MAX_NODE_ID_CHARS:
            length = f"{len(node.id)} characters, {MAX_NODE_ID_CHARS} at most"
            detail = f"node id '{node.id[:20]}…' is too long: {length}"
        elif (found := _CONTROL.search(node.id)) is not None:
            kind = "a line break" if found[0] in _LINE_BREAKS else f"U+{ord(found[0]):04X}"
            detail = f"node id {node.id!r} has {kind}; control characters are not accepted"
        elif "/" in node.id:
            detail = f"node id {node.id!r} contains '/', which is not accepted in ids"
        if detail is not None:
            yield Problem("invalid_node_id", detail, f"{node.pointer}/id", node_id=node.id)


def _duplicate_ids(document: Document) -> Iterable[Problem]:
    counts = Counter(node.id for node in document.nodes)
    first_seen: set[str] = set()
    for node in document.nodes:
        if node.id in first_seen:
            detail = f"node id '{node.id}' is used {counts[node.id]} times"
            yield Problem("duplicate_node_id", detail, f"{node.pointer}/id", node_id=node.id)
        first_seen.add(node.id)


def _dangling_connections(document: Document) -> Iterable[Problem]:
    known = {node.id for node in document.nodes}
    for connection in document.connections:
        for end, node_id in (("source", connection.source), ("target", connection.target)):
            if node_id not in known:
                detail = f"connection '{connection.id}' has the unknown {end} '{node_id}'"
                yield Problem(
                    "dangling_connection", detail, connection.pointer, None, connection.id
                )


def _cycles(document: Document) -> Iterable[Problem]:
    """Yield a problem for each of the connections without which no cycle is left."""
    connections = list(document.connections)
    fed = {connection.target for connection in connections}
    for _ in range(MAX_CYCLES):
        # Nodes that no connection leads to are first, so that a cycle begins where it is entered.
        sources = sorted((connection.source for connection in connections), key=fed.__contains__)
        sorter = TopologicalSorter[str](dict.fromkeys(sources, ()))
        for connection in connections:
            sorter.add(connection.target, connection.source)
        try:
            sorter.prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
        else:
            return
        closing = next(c for c in connections if [c.source, c.target] == cycle[-2:])
        connections.remove(closing)
        detail = f"the connections form a cycle: {' → '.join(cycle)}"
        yield Problem("cycle", detail, closing.pointer, cycle[0], closing.id)


def _no_entry(document: Document) -> Iterable[Problem]:
    fed = {connection.target for connection in document.connections}
    feeding = {connection.source for connection in document.connections}
    roots = [
        node
        for node in document.nodes
        if node.id not in fed and (node.type not in (COMMENT, DISABLED) or node.id in feeding)
    ]
    disabled = [node.id for node in roots if node.disabled and node.shown_type in ENTRY_TYPES]
    if len(disabled) == len(roots):
        why = f": {', '.join(map(repr, disabled))} is disabled" if disabled else ""
        yield Problem("no_entry_node", f"the workflow has no entry node{why}", "/nodes")


def _unknown_types(nodes: Iterable[Node], known_types: Collection[str]) -> Iterable[Problem]:
    known = ", ".join(sorted(known_types))
    for node in nodes:
        if node.type not in known_types:
            detail = f"node '{node.id}' is of unknown type '{node.type}'; known are: {known}"
            yield Problem("unknown_node_type", detail, f"{node.pointer}/type", node_id=node.id)
