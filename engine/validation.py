"""Whether a document can run: every reason against it, at once."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import islice

from engine.document import Connection, Document, Node, Reading, read_document
from engine.errors import DocumentRefusedError, Problem
from engine.graph import COMMENT, Graph
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.loops import Loops
from engine.values import JsonValue

MAX_CYCLES = 100
"""How many cycles of one document are named; enough to see, and bounded however tangled it is."""

LONGEST_NODE_ID = 500
"""Characters. PostgreSQL takes keys of 2,704 bytes, and that of a node run holds more than this."""

_NO_GRAPH = frozenset({"invalid_document", "duplicate_node_id", "dangling_connection", "cycle"})
"""Problems with which it cannot be said where a loop begins and ends."""

ConfigCheck = Callable[[Node], Iterable[Problem]]
"""Says what a node type holds against a node's config."""


def validate(document: Document, known_types: Collection[str], check: ConfigCheck) -> Graph:
    """The graph of a document that can run.

    Raises:
        DocumentRefusedError: it cannot; ``problems`` holds every reason.
    """
    return _validate(Reading(document), known_types, check)


def read_and_validate(
    data: JsonValue,
    known_types: Collection[str],
    check: ConfigCheck,
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS,
) -> Graph:
    """As ``validate``, of a document as it was sent: JSON text, or the value itself.

    What has the wrong shape is told together with what is wrong with the rest; only what would
    follow from it is not.

    Raises:
        DocumentRefusedError: it cannot run; ``problems`` holds every reason.
    """
    return _validate(read_document(data, limits), known_types, check)


def _validate(reading: Reading, known_types: Collection[str], check: ConfigCheck) -> Graph:
    document = reading.document
    read = [node for node in document.nodes if node.pointer not in reading.half_read]
    problems = [*reading.problems, *_unfit_ids(document), *_duplicate_ids(document)]
    if reading.has_all_nodes:
        problems.extend(_dangling_connections(document))
    problems.extend(_cycles(document))
    if not reading.problems:
        problems.extend(_no_start(document))
    problems.extend(_unknown_types(read, known_types))
    for node in read:
        if node.type in known_types:
            problems.extend(check(node))
    graph = Graph(document)
    if not any(problem.code in _NO_GRAPH for problem in problems):
        problems.extend(Loops(graph).problems())
    if problems:
        raise DocumentRefusedError(problems)
    return graph


def _unfit_ids(document: Document) -> Iterable[Problem]:
    """Ids that not every database can keep as part of a key."""
    for node in document.nodes:
        detail = None
        if len(node.id) > LONGEST_NODE_ID:
            length = f"{len(node.id)} characters, {LONGEST_NODE_ID} at most"
            detail = f"node id '{node.id[:20]}…' is too long: {length}"
        elif "\0" in node.id:
            detail = f"node id {node.id!r} has a NUL character, which not every database stores"
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
        for end, node_id in (("from", connection.source), ("to", connection.target)):
            if node_id not in known:
                detail = (
                    f"connection '{connection.id}' leads {end} node '{node_id}', which is not there"
                )
                yield Problem(
                    "dangling_connection", detail, connection.pointer, None, connection.id
                )


def _cycles(document: Document) -> Iterable[Problem]:
    """One problem for each connection that closes a cycle; without those there is none left."""
    for connection, cycle in islice(_closing(document.connections), MAX_CYCLES):
        names = " → ".join(cycle)
        yield Problem(
            "cycle",
            f"the connections form a cycle: {names}",
            connection.pointer,
            cycle[0],
            connection.id,
        )


def _closing(connections: Iterable[Connection]) -> Iterable[tuple[Connection, list[str]]]:
    """The connections that lead back, each with its cycle in running order, the first node again
    at the end.

    Walks depth-first with a stack of its own: each connection once, however long the path.
    """
    outgoing: dict[str, list[Connection]] = {}
    fed: set[str] = set()
    for connection in connections:
        outgoing.setdefault(connection.source, []).append(connection)
        fed.add(connection.target)
    done: set[str] = set()
    for start in sorted(outgoing, key=fed.__contains__):
        if start in done:
            continue
        path = {start: iter(outgoing[start])}
        while path:
            here = next(reversed(path))
            connection = next(path[here], None)
            if connection is None:
                del path[here]
                done.add(here)
            elif connection.target in path:
                names = list(path)
                yield connection, [*names[names.index(connection.target) :], connection.target]
            elif connection.target not in done:
                path[connection.target] = iter(outgoing.get(connection.target, ()))


def _no_start(document: Document) -> Iterable[Problem]:
    fed = {connection.target for connection in document.connections}
    feeding = {connection.source for connection in document.connections}
    if not any(
        node.id not in fed and (node.type != COMMENT or node.id in feeding)
        for node in document.nodes
    ):
        yield Problem("no_start", "there is no node to start from", "/nodes")


def _unknown_types(nodes: Iterable[Node], known_types: Collection[str]) -> Iterable[Problem]:
    known = ", ".join(sorted(known_types))
    for node in nodes:
        if node.type not in known_types:
            detail = f"node '{node.id}' is of unknown type '{node.type}'; known are: {known}"
            yield Problem("unknown_node_type", detail, f"{node.pointer}/type", node_id=node.id)
