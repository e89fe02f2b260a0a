"""Invalid workflow documents are rejected with all reasons (contract, section 4)."""

from typing import Any

import pytest

from engine.document import escape_pointer, parse_document
from engine.errors import InvalidDocumentError, Problem


def problems(data: Any) -> list[Problem]:
    with pytest.raises(InvalidDocumentError) as refused:
        parse_document(data)
    return refused.value.problems


def only_problem(data: Any) -> Problem:
    (problem,) = problems(data)
    return problem


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"nodes": [}', "Expecting value"),
        ('{"nodes": []} x', "Extra data"),
        ('{"nodes": [NaN]}', "NaN is not a JSON value"),
        ('{"nodes": [-Infinity]}', "-Infinity is not a JSON value"),
        ('{"nodes": [1e999]}', "1e999 is too large for a number"),
        (b'{"nodes": ["\xff"]}', "can't decode byte 0xff"),
        pytest.param("[" * 201 + "]" * 201, "nested deeper than 200 levels", id="too deep"),
        pytest.param("[" * 100_000, "nested deeper than 200 levels", id="far too deep"),
    ],
)
def test_invalid_json_is_rejected_with_the_position(text: str | bytes, reason: str) -> None:
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
        ({"nodes": [{"id": float("nan")}]}, "nan is not a JSON number at nodes.0.id"),
        ({"nodes": nested(200)}, "nested deeper than 200 levels"),
        ({"nodes": nested(5_000)}, "nested deeper than 200 levels"),
        ({"nodes": {"a set"}}, "a value of type set at nodes"),
    ],
    ids=["NaN", "deep", "very deep", "no JSON at all"],
)
def test_a_value_that_json_cannot_represent_is_rejected(value: Any, reason: str) -> None:
    problem = only_problem(value)

    assert (problem.code, problem.pointer) == ("invalid_json", "")
    assert reason in problem.detail


@pytest.mark.parametrize(
    ("data", "kind"),
    [(None, "null"), ([], "list"), (5, "number"), (True, "boolean"), ('"text"', "string")],
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
            "the 'id' of a node is of type number, not a string",
            "/nodes/0/id",
        ),
        (
            {"nodes": [{"id": True, "type": "http"}]},
            "the 'id' of a node is of type boolean, not a string",
            "/nodes/0/id",
        ),
        ({"nodes": [{"id": "a"}]}, "node 'a' has no 'type'", "/nodes/0/type"),
        (
            {"nodes": [{"id": "a", "type": ["http"]}]},
            "the 'type' of node 'a' is of type list, not a string",
            "/nodes/0/type",
        ),
        (
            {"nodes": [{**NODE, "config": [1]}]},
            "the config of node 'a' is of type list, not an object",
            "/nodes/0/config",
        ),
        (
            {"nodes": [{**NODE, "data": {"config": "x"}}]},
            "the config of node 'a' is of type string, not an object",
            "/nodes/0/data/config",
        ),
        (
            {"nodes": [NODE], "connections": "x"},
            "'connections' is of type string, not a list",
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
            "the 'target' of connection 'k' is of type object, not a string",
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


def test_the_error_message_contains_every_reason() -> None:
    with pytest.raises(InvalidDocumentError) as refused:
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
def test_the_shape_of_a_problem_in_a_response(problem: Problem, shape: dict[str, str]) -> None:
    assert problem.as_json() == shape


@pytest.mark.parametrize(("token", "escaped"), [("a/b", "a~1b"), ("a~b", "a~0b"), ("~1", "~01")])
def test_tokens_of_pointers_are_escaped(token: str, escaped: str) -> None:
    assert escape_pointer(token) == escaped
