"""A document that cannot run is rejected with all reasons (contract, section 4)."""

from collections.abc import Iterable
from typing import Any

import pytest

from engine.document import Node, parse_document
from engine.errors import InvalidDocumentError, Problem
from engine.graph import Graph
from tests.support.documents import validate

KNOWN = ("trigger", "http", "comment", "join")


def document(nodes: dict[str, str] | list[tuple[str, str]], ways: str = "") -> dict[str, Any]:
    """``ways`` spells connections: ``"a>b b>c"``; each is called as it is spelled."""
    pairs = nodes.items() if isinstance(nodes, dict) else nodes
    return {
        "nodes": [{"id": node_id, "type": kind, "config": {}} for node_id, kind in pairs],
        "connections": [
            {"id": way, "fromNodeId": way.split(">")[0], "toNodeId": way.split(">")[1]}
            for way in ways.split()
        ],
    }


def nothing_against(_: Node) -> Iterable[Problem]:
    return []


def problems(data: Any, check: Any = nothing_against) -> list[Problem]:
    with pytest.raises(InvalidDocumentError) as refused:
        validate(parse_document(data), KNOWN, check)
    return refused.value.problems


def cycles(ways: str) -> list[Problem]:
    """The cycles of a workflow that a trigger starts."""
    ids = dict.fromkeys(ways.replace(">", " ").split(), "http")
    data = document({"t": "trigger", **ids}, ways)
    return [problem for problem in problems(data) if problem.code == "cycle"]


@pytest.mark.parametrize(
    ("nodes", "ways"),
    [
        ({"t": "trigger"}, ""),
        ({"a": "http"}, ""),
        ({"t": "trigger", "a": "http", "b": "http", "c": "join"}, "t>a t>b a>c b>c"),
        ({"t": "trigger", "a": "http"}, "t>a t>a"),
        ({"note": "comment", "a": "http"}, ""),
        ({"note": "comment", "a": "http"}, "note>a"),
    ],
    ids=["one node", "no entry node", "diamond", "twice the same way", "note", "note in the path"],
)
def test_a_valid_document_becomes_a_graph(nodes: dict[str, str], ways: str) -> None:
    graph = validate(parse_document(document(nodes, ways)), KNOWN, nothing_against)

    assert isinstance(graph, Graph)


def test_a_graph_knows_the_inputs_of_each_node() -> None:
    nodes = {"t": "trigger", "a": "http", "b": "http", "note": "comment"}
    graph = validate(parse_document(document(nodes, "t>b t>a a>b")), KNOWN, nothing_against)

    assert list(graph.nodes) == ["t", "a", "b"]
    assert [c.id for c in graph.incoming["b"]] == ["t>b", "a>b"]
    assert [c.id for c in graph.outgoing["t"]] == ["t>b", "t>a"]
    assert [node.id for node in graph.roots] == ["t"]
    assert graph.reachable(["a"]) == {"a", "b"}


def test_duplicate_ids() -> None:
    (problem,) = problems(document([("a", "http"), ("b", "http"), ("a", "trigger")]))

    assert problem == Problem(
        "duplicate_node_id", "node id 'a' is used 2 times", "/nodes/2/id", "a"
    )


def test_a_number_and_its_string_are_the_same_id() -> None:
    data = {"nodes": [{"id": 1, "type": "http"}, {"id": "1", "type": "http"}]}

    assert [p.code for p in problems(data)] == ["duplicate_node_id"]


@pytest.mark.parametrize(
    ("way", "detail"),
    [
        ("a>gone", "connection 'a>gone' has the unknown target 'gone'"),
        ("gone>a", "connection 'gone>a' has the unknown source 'gone'"),
    ],
)
def test_a_connection_to_a_node_that_is_not_there(way: str, detail: str) -> None:
    found = problems(document({"a": "http", "b": "http"}, way))

    assert found == [Problem("dangling_connection", detail, "/connections/0", None, way)]


def test_a_connection_may_miss_both_its_ends() -> None:
    found = problems(document({"a": "http"}, "x>y"))

    assert [p.code for p in found] == ["dangling_connection", "dangling_connection"]


def test_a_react_flow_edge_is_pointed_at_as_an_edge() -> None:
    nodes = [{"id": "a", "type": "http", "data": {}}]
    data = {"nodes": nodes, "edges": [{"id": "e", "source": "a", "target": "gone"}]}

    assert [p.pointer for p in problems(data)] == ["/edges/0"]


def test_a_cycle_names_its_nodes_in_running_order_and_the_connection_that_closes_it() -> None:
    (cycle,) = cycles("t>a a>b b>c c>a")

    assert cycle.detail == "the connections form a cycle: a → b → c → a"
    assert (cycle.pointer, cycle.node_id, cycle.connection_id) == ("/connections/3", "a", "c>a")


def test_the_closing_connection_of_a_cycle_depends_on_the_entry_node() -> None:
    (cycle,) = cycles("b>a a>b t>a")

    assert cycle.detail.endswith("a → b → a")
    assert cycle.connection_id == "b>a"


def test_a_node_that_feeds_itself_is_a_cycle() -> None:
    (cycle,) = cycles("t>a a>a")

    assert cycle.detail == "the connections form a cycle: a → a"
    assert cycle.pointer == "/connections/1"


@pytest.mark.parametrize(
    ("ways", "named"),
    [
        ("t>a a>b b>a t>c c>d d>c", ["a → b → a", "c → d → c"]),
        ("t>a a>b b>a b>c c>b", ["a → b → a", "b → c → b"]),
        ("t>a a>b b>c c>b c>a", ["b → c → b", "a → b → c → a"]),
        ("t>a a>b b>a b>a", ["a → b → a", "a → b → a"]),
        ("x>y y>x", ["x → y → x"]),
    ],
    ids=["apart", "sharing a node", "one in the other", "closed twice", "fed by nothing"],
)
def test_several_cycles_are_all_named(ways: str, named: list[str]) -> None:
    assert [cycle.detail.split(": ")[1] for cycle in cycles(ways)] == named


def test_without_the_connections_named_no_cycle_is_left() -> None:
    ways = "t>a a>b b>c c>a c>d d>b d>a b>b"
    closing = {cycle.connection_id for cycle in cycles(ways)}
    left = " ".join(way for way in ways.split() if way not in closing)

    nodes = {"t": "trigger", **dict.fromkeys("abcd", "http")}
    validate(parse_document(document(nodes, left)), KNOWN, nothing_against)


def test_a_diamond_is_not_a_cycle() -> None:
    nodes = {"t": "trigger", **dict.fromkeys("abc", "http")}

    validate(parse_document(document(nodes, "t>a t>b a>c b>c t>c")), KNOWN, nothing_against)


@pytest.mark.parametrize(
    ("nodes", "ways"),
    [
        ({}, ""),
        ({"note": "comment"}, ""),
        ({"a": "http", "b": "http"}, "a>b b>a"),
        ({"a": "http", "note": "comment"}, "a>a"),
    ],
    ids=["empty", "notes only", "a ring", "a ring and a note"],
)
def test_no_node_to_start_from(nodes: dict[str, str], ways: str) -> None:
    found = [p for p in problems(document(nodes, ways)) if p.code != "cycle"]

    assert found == [Problem("no_entry_node", "the workflow has no entry node", "/nodes")]


def test_an_unknown_type_names_the_known_ones() -> None:
    (problem,) = problems(document({"a": "htpp"}))

    assert problem.detail == (
        "node 'a' is of unknown type 'htpp'; known are: comment, http, join, trigger"
    )
    assert (problem.code, problem.pointer, problem.node_id) == (
        "unknown_node_type",
        "/nodes/0/type",
        "a",
    )


def without_url(node: Node) -> Iterable[Problem]:
    if "httpUrl" not in node.config:
        pointer = f"{node.config_pointer}/httpUrl"
        yield Problem("invalid_config", f"node '{node.id}' lacks httpUrl", pointer, node.id)


def test_config_problems_of_a_type_are_reasons() -> None:
    nodes = [
        {"id": "a", "type": "http", "config": {}},
        {"id": "b", "type": "http", "config": {"httpUrl": "u"}},
        {"id": "c", "type": "http", "data": {}},
    ]

    found = problems({"nodes": nodes}, without_url)

    assert [(p.node_id, p.pointer) for p in found] == [
        ("a", "/nodes/0/config/httpUrl"),
        ("c", "/nodes/2/data/httpUrl"),
    ]


def test_the_config_of_an_unknown_type_is_not_judged() -> None:
    assert [p.code for p in problems(document({"a": "x"}), without_url)] == ["unknown_node_type"]


def test_every_reason_is_given_at_once() -> None:
    nodes = [("a", "http"), ("a", "http"), ("b", "mystery"), ("c", "http")]

    found = problems(document(nodes, "a>b b>a c>c c>gone"), without_url)

    assert [p.code for p in found] == [
        "duplicate_node_id",
        "dangling_connection",
        "cycle",
        "cycle",
        "no_entry_node",
        "unknown_node_type",
        "invalid_config",
        "invalid_config",
        "invalid_config",
    ]
