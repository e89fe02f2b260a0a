"""The workflow document: two spellings are read into one form (contract, section 4)."""

import json
from typing import Any

import pytest

from engine.document import Connection, Document, Node, escape_pointer, parse_document
from engine.errors import DocumentRefusedError, Problem

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


def problems(data: Any) -> list[Problem]:
    with pytest.raises(DocumentRefusedError) as refused:
        parse_document(data)
    return refused.value.problems


def only_problem(data: Any) -> Problem:
    (problem,) = problems(data)
    return problem


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


# --- spellings --------------------------------------------------------------------------------


def test_the_main_project_s_spelling_is_read() -> None:
    document = parse_document(MAIN)

    assert document.nodes[1] == Node(
        "c", "condition", "Adult?", {"conditionField": "age"}, "/nodes/1", "/nodes/1/config"
    )
    assert document.connections[1] == Connection("k2", "c", "j", "true", "A", "/connections/1")


def test_react_flow_s_spelling_means_the_same() -> None:
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


def test_ids_may_be_any_text() -> None:
    name = "Prüfung ✓/~ 'x'"

    document = parse_document(
        {
            "nodes": [{"id": name, "type": "http"}, {"id": "b", "type": "http"}],
            "connections": [{"fromNodeId": name, "toNodeId": "b"}],
        }
    )

    assert document.nodes[0].id == document.connections[0].source == name


def test_a_whole_number_is_taken_for_its_text() -> None:
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


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"nodes": [}', "Expecting value"),
        ('{"nodes": []} x', "Extra data"),
        ('{"nodes": [NaN]}', "NaN is no JSON value"),
        ('{"nodes": [-Infinity]}', "-Infinity is no JSON value"),
        ('{"nodes": [1e999]}', "1e999 is too large a number"),
        ('{"nodes": ["\\ud800"]}', "not valid Unicode"),
        (b'{"nodes": ["\xff"]}', "can't decode byte 0xff"),
        pytest.param("[" * 201 + "]" * 201, "nested deeper than 200 levels", id="too deep"),
        pytest.param("[" * 100_000, "nested deeper than 200 levels", id="far too deep"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place_where_it_breaks(
    text: str | bytes, reason: str
) -> None:
    problem = only_problem(text)

    assert problem.code == "invalid_json"
    assert problem.pointer == ""
    assert reason in problem.detail


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"nodes": [{"id": float("nan")}]}, "nan is no JSON number at nodes.0.id"),
        ({"nodes": nested(200)}, "nested deeper than 200 levels"),
        ({"nodes": nested(5_000)}, "nested deeper than 200 levels"),
        ({"nodes": {"a set"}}, "a value of type set at nodes"),
    ],
    ids=["NaN", "deep", "very deep", "no JSON at all"],
)
def test_a_value_that_json_cannot_carry_is_refused_too(value: Any, reason: str) -> None:
    problem = only_problem(value)

    assert (problem.code, problem.pointer) == ("invalid_json", "")
    assert reason in problem.detail


@pytest.mark.parametrize(
    ("data", "kind"),
    [(None, "null"), ([], "list"), (5, "number"), (True, "boolean"), ('"text"', "text")],
)
def test_a_document_is_an_object(data: Any, kind: str) -> None:
    problem = only_problem(data)

    assert problem.detail == f"the document is of type {kind}, not an object"


NODE = {"id": "a", "type": "http"}


@pytest.mark.parametrize(
    ("data", "detail", "pointer"),
    [
        ({}, "the document has no 'nodes'", ""),
        ({"nodes": None}, "the document has no 'nodes'", ""),
        ({"nodes": {}}, "'nodes' is of type object, not a list", "/nodes"),
        ({"nodes": [5]}, "a node is of type number, not an object", "/nodes/0"),
        ({"nodes": [{"type": "http"}]}, "a node has no 'id'", "/nodes/0/id"),
        ({"nodes": [{"id": "", "type": "http"}]}, "a node has no 'id'", "/nodes/0/id"),
        (
            {"nodes": [{"id": 1.5, "type": "http"}]},
            "the 'id' of a node is of type number, not a text",
            "/nodes/0/id",
        ),
        (
            {"nodes": [{"id": True, "type": "http"}]},
            "the 'id' of a node is of type boolean, not a text",
            "/nodes/0/id",
        ),
        ({"nodes": [{"id": "a"}]}, "node 'a' has no 'type'", "/nodes/0/type"),
        (
            {"nodes": [{"id": "a", "type": ["http"]}]},
            "the 'type' of node 'a' is of type list, not a text",
            "/nodes/0/type",
        ),
        (
            {"nodes": [{**NODE, "config": [1]}]},
            "the config of node 'a' is of type list, not an object",
            "/nodes/0/config",
        ),
        (
            {"nodes": [{**NODE, "data": {"config": "x"}}]},
            "the config of node 'a' is of type text, not an object",
            "/nodes/0/data/config",
        ),
        (
            {"nodes": [NODE], "connections": "x"},
            "'connections' is of type text, not a list",
            "/connections",
        ),
        ({"nodes": [NODE], "edges": {}}, "'edges' is of type object, not a list", "/edges"),
        (
            {"nodes": [NODE], "connections": [None]},
            "a connection is of type null, not an object",
            "/connections/0",
        ),
        (
            {"nodes": [NODE], "connections": [{"id": "k", "toNodeId": "a"}]},
            "connection 'k' has no 'fromNodeId'",
            "/connections/0/fromNodeId",
        ),
        (
            {"nodes": [NODE], "connections": [{"id": "k", "fromNodeId": "a"}]},
            "connection 'k' has no 'toNodeId'",
            "/connections/0/toNodeId",
        ),
        (
            {"nodes": [NODE], "edges": [{"id": "k", "target": "a"}]},
            "connection 'k' has no 'source'",
            "/edges/0/source",
        ),
        (
            {"nodes": [NODE], "edges": [{"id": "k", "source": "a", "target": {}}]},
            "the 'target' of connection 'k' is of type object, not a text",
            "/edges/0/target",
        ),
    ],
)
def test_a_part_of_the_wrong_shape_is_named_and_pointed_at(
    data: Any, detail: str, pointer: str
) -> None:
    problem = only_problem(data)

    assert (problem.code, problem.detail, problem.pointer) == ("invalid_document", detail, pointer)


def test_every_part_of_the_wrong_shape_is_named_at_once() -> None:
    found = problems(
        {
            "nodes": [7, {"id": "a", "config": 5}, {"type": "http"}],
            "edges": [{"id": "k"}, "no edge"],
        }
    )

    assert [(p.pointer, p.node_id, p.connection_id) for p in found] == [
        ("/nodes/0", None, None),
        ("/nodes/1/type", "a", None),
        ("/nodes/1/config", "a", None),
        ("/nodes/2/id", None, None),
        ("/edges/0/source", None, "k"),
        ("/edges/0/target", None, "k"),
        ("/edges/1", None, None),
    ]


def test_the_error_s_message_holds_every_reason() -> None:
    with pytest.raises(DocumentRefusedError) as refused:
        parse_document({"nodes": [7, {"type": "http"}]})

    assert str(refused.value) == (
        "The workflow cannot run: a node is of type number, not an object; a node has no 'id'"
    )


@pytest.mark.parametrize(
    ("problem", "shape"),
    [
        (Problem("c", "d", "/p"), {"code": "c", "detail": "d", "pointer": "/p"}),
        (
            Problem("c", "d", "/p", "n", "k"),
            {"code": "c", "detail": "d", "pointer": "/p", "nodeId": "n", "connectionId": "k"},
        ),
    ],
)
def test_the_shape_of_a_problem_in_an_answer(problem: Problem, shape: dict[str, str]) -> None:
    assert problem.as_json() == shape


@pytest.mark.parametrize(("token", "escaped"), [("a/b", "a~1b"), ("a~b", "a~0b"), ("~1", "~01")])
def test_a_pointer_s_tokens_are_escaped(token: str, escaped: str) -> None:
    assert escape_pointer(token) == escaped
