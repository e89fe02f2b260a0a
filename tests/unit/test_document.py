"""The workflow document: both formats are read into one form (contract, section 4)."""

import json
from typing import Any

import pytest

from engine.document import Connection, Document, Node, parse_document

MAIN = {
    "nodes": [
        {"id": "t", "type": "trigger", "label": "Start", "x": 10, "y": 20, "config": {}},
        {"id": "c", "type": "condition", "label": "Adult?", "config": {"conditionField": "age"}},
        {"id": "j", "type": "join", "label": "Both", "config": {"joinStrategy": "concat"}},
    ],
    "connections": [
        {"id": "k1", "fromNodeId": "t", "toNodeId": "c"},
        {"id": "k2", "fromNodeId": "c", "toNodeId": "j", "outputType": "true", "inputPort": "A"},
    ],
}

REACT_FLOW = {
    "nodes": [
        {"id": "t", "type": "trigger", "position": {"x": 10, "y": 20}, "data": {"label": "Start"}},
        {
            "id": "c",
            "type": "condition",
            "position": {"x": 0, "y": 0},
            "data": {"label": "Adult?", "config": {"conditionField": "age"}},
        },
        {
            "id": "j",
            "type": "join",
            "position": {"x": 0, "y": 0},
            "data": {"label": "Both", "joinStrategy": "concat"},
        },
    ],
    "edges": [
        {"id": "k1", "source": "t", "target": "c", "sourceHandle": None, "targetHandle": None},
        {"id": "k2", "source": "c", "target": "j", "sourceHandle": "true", "targetHandle": "A"},
    ],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}


def meaning(document: Document) -> Any:
    """A document without where its parts stood."""
    return (
        [node.as_json() for node in document.nodes],
        [(c.id, c.source, c.target, c.output_type, c.input_port) for c in document.connections],
    )


def only_node(**fields: Any) -> Node:
    (node,) = parse_document({"nodes": [{"id": "n", "type": "http", **fields}]}).nodes
    return node


def only_connection(key: str = "connections", **fields: Any) -> Connection:
    nodes = [{"id": "a", "type": "http"}, {"id": "b", "type": "http"}]
    ends = {"fromNodeId": "a", "toNodeId": "b"}
    if key == "edges":
        ends = {"source": "a", "target": "b"}
    (connection,) = parse_document({"nodes": nodes, key: [{**ends, **fields}]}).connections
    return connection


def test_the_format_of_the_main_project_is_read() -> None:
    document = parse_document(MAIN)

    assert document.nodes[1] == Node(
        "c", "condition", "Adult?", {"conditionField": "age"}, "/nodes/1", "/nodes/1/config"
    )
    assert document.connections[1] == Connection("k2", "c", "j", "true", "A", "/connections/1")


def test_the_format_of_react_flow_means_the_same() -> None:
    assert meaning(parse_document(REACT_FLOW)) == meaning(parse_document(MAIN))


def test_pointers_lead_into_the_spelling_that_was_sent() -> None:
    document = parse_document(REACT_FLOW)

    assert [node.pointer for node in document.nodes] == ["/nodes/0", "/nodes/1", "/nodes/2"]
    assert [node.config_pointer for node in document.nodes] == [
        "/nodes/0/data",
        "/nodes/1/data/config",
        "/nodes/2/data",
    ]
    assert [c.pointer for c in document.connections] == ["/edges/0", "/edges/1"]


@pytest.mark.parametrize(
    "stored",
    [json.dumps(MAIN), json.dumps(MAIN).encode(), b"\xef\xbb\xbf" + json.dumps(MAIN).encode()],
    ids=["text", "bytes", "bytes with a byte order mark"],
)
def test_json_text_is_read_like_the_value(stored: str | bytes) -> None:
    assert parse_document(stored) == parse_document(MAIN)


@pytest.mark.parametrize(
    ("key", "fields", "output_type", "port"),
    [
        ("connections", {}, None, None),
        ("connections", {"outputType": "false"}, "false", None),
        ("connections", {"outputType": "error"}, "error", None),
        ("connections", {"inputPort": "B"}, None, "B"),
        ("connections", {"fromPort": "true", "toPort": "A"}, "true", "A"),
        ("connections", {"outputType": "true", "fromPort": "false"}, "true", None),
        ("connections", {"inputPort": "A", "toPort": "B"}, None, "A"),
        ("connections", {"outputType": None, "fromPort": "false"}, "false", None),
        ("connections", {"outputType": "", "inputPort": ""}, None, None),
        ("connections", {"outputType": True}, "true", None),
        ("connections", {"outputType": False}, "false", None),
        ("edges", {"sourceHandle": "false", "targetHandle": "B"}, "false", "B"),
        ("edges", {"sourceHandle": None, "targetHandle": None}, None, None),
    ],
)
def test_where_a_connection_leaves_and_enters(
    key: str, fields: dict[str, Any], output_type: str | None, port: str | None
) -> None:
    connection = only_connection(key, **fields)

    assert (connection.output_type, connection.input_port) == (output_type, port)


def test_edges_count_where_the_list_of_connections_is_empty() -> None:
    document = parse_document({**REACT_FLOW, "connections": []})

    assert [c.pointer for c in document.connections] == ["/edges/0", "/edges/1"]


@pytest.mark.parametrize("absent", [{}, {"connections": None}, {"connections": []}, {"edges": []}])
def test_a_document_may_have_no_connections(absent: dict[str, Any]) -> None:
    assert parse_document({"nodes": [], **absent}).connections == ()


@pytest.mark.parametrize(
    ("fields", "config", "pointer"),
    [
        ({}, {}, "/nodes/0/config"),
        ({"config": None}, {}, "/nodes/0/config"),
        ({"config": {"httpUrl": "u"}}, {"httpUrl": "u"}, "/nodes/0/config"),
        ({"data": {"config": {"httpUrl": "u"}}}, {"httpUrl": "u"}, "/nodes/0/data/config"),
        ({"data": {"httpUrl": "u"}}, {"httpUrl": "u"}, "/nodes/0/data"),
        ({"data": {"config": None, "httpUrl": "u"}}, {"httpUrl": "u"}, "/nodes/0/data"),
        ({"config": {"a": 1}, "data": {"a": 2}}, {"a": 1}, "/nodes/0/config"),
        ({"data": None}, {}, "/nodes/0/config"),
    ],
)
def test_where_a_config_may_stand(
    fields: dict[str, Any], config: dict[str, Any], pointer: str
) -> None:
    node = only_node(**fields)

    assert (node.config, node.config_pointer) == (config, pointer)


@pytest.mark.parametrize(
    "leftover",
    ["status", "outputData", "inputData", "executionResult", "conditionResult", "trueRecords"],
)
def test_leftovers_of_a_preview_are_ignored(leftover: str) -> None:
    left = {leftover: {"from": "the last preview"}}

    assert only_node(config={"httpUrl": "u"}, **left).config == {"httpUrl": "u"}
    assert only_node(data={"httpUrl": "u", **left}).config == {"httpUrl": "u"}
    assert only_node(data={"config": {"httpUrl": "u"}, **left}).config == {"httpUrl": "u"}


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"label": "Fetch"}, "Fetch"),
        ({"data": {"label": "Fetch"}}, "Fetch"),
        ({"label": "", "data": {"label": "Fetch"}}, "Fetch"),
        ({}, "n"),
        ({"label": ""}, "n"),
        ({"label": 5}, "n"),
    ],
)
def test_a_node_without_a_label_is_called_by_its_id(fields: dict[str, Any], label: str) -> None:
    assert only_node(**fields).label == label


def test_ids_may_be_any_string() -> None:
    name = "Prüfung ✓/~ 'x'"

    document = parse_document(
        {
            "nodes": [{"id": name, "type": "http"}, {"id": "b", "type": "http"}],
            "connections": [{"fromNodeId": name, "toNodeId": "b"}],
        }
    )

    assert document.nodes[0].id == document.connections[0].source == name


def test_an_integer_id_is_read_as_a_string() -> None:
    document = parse_document(
        {
            "nodes": [{"id": 1, "type": "http"}, {"id": "2", "type": "http"}],
            "connections": [{"id": 7, "fromNodeId": "1", "toNodeId": 2}],
        }
    )

    assert [node.id for node in document.nodes] == ["1", "2"]
    assert document.connections[0] == Connection("7", "1", "2", None, None, "/connections/0")


@pytest.mark.parametrize("fields", [{}, {"id": None}, {"id": True}, {"id": ["k"]}])
def test_a_connection_without_an_id_is_called_by_its_position(fields: dict[str, Any]) -> None:
    assert only_connection(**fields).id == "0"


def test_a_handler_gets_id_type_label_and_config() -> None:
    config = {"httpUrl": "u"}
    node = only_node(config=config, status="done")

    handed = node.as_json()
    handed["config"]["httpUrl"] = "changed by a handler"

    assert node.as_json() == {"id": "n", "type": "http", "label": "n", "config": config}
