"""``POST /api/workflows/validate``: errors with pointers into the request."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("service")) as running:
        yield running


def errors(service: RunningService, **body: Any) -> list[dict[str, str]]:
    response = service.http.post("/api/workflows/validate", json=body)
    assert response.status_code == 200, response.text
    found = response.json()
    assert set(found) == {"valid", "errors", "warnings"}
    assert found["valid"] == (found["errors"] == [])
    return found["errors"]


def walk(value: Any, pointer: str) -> tuple[Any, Any]:
    """Return the value at a pointer, and the container of that value (RFC 6901)."""
    parent = None
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        parent = value
        if isinstance(value, list):
            value = value[int(key)]
        else:
            assert isinstance(value, dict), pointer
            value = value.get(key, MISSING)
    return value, parent


MISSING = object()
BAD_CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "http": (
        {
            "httpUrl": "ftp://x",
            "httpAuth": {"type": "bearer"},
            "httpHeaders": [{"key": "a", "value": 1}, "wrong"],
            "onError": "explode",
        },
        {
            "httpUrl": "ftp://x",
            "httpAuth/token": MISSING,
            "httpHeaders/1": "wrong",
            "onError": "explode",
        },
    ),
    "condition": (
        {
            "conditionField": "a",
            "additionalConditions": [
                {"field": "b"},
                {"field": "c", "operator": "near"},
                {"value": 5},
            ],
        },
        {"additionalConditions/1/operator": "near", "additionalConditions/2/field": MISSING},
    ),
    "llm": ({"prompt": {"a": 1}, "retries": 99}, {"prompt": {"a": 1}, "retries": 99}),
    "addField": ({"fieldName": ["x"]}, {"fieldName": ["x"]}),
    "manualInput": ({"variableName": {}}, {"variableName": {}}),
    "join": ({"joinStrategy": "mergeByKey"}, {"joinKey": MISSING}),
    "wait": ({"wait_seconds": "soon"}, {"wait_seconds": "soon"}),
}


def in_spelling(spelling: str, node_type: str, config: dict[str, Any]) -> dict[str, Any]:
    if spelling == "config":
        return {"nodes": [{"id": "n", "type": node_type, "config": config}], "connections": []}
    if spelling == "data":
        return {"nodes": [{"id": "n", "type": node_type, "data": config}], "edges": []}
    return {"nodes": [{"id": "n", "type": node_type, "data": {"config": config}}], "edges": []}


@pytest.mark.parametrize("spelling", ["config", "data", "data/config"])
@pytest.mark.parametrize("node_type", sorted(BAD_CONFIGS))
def test_a_pointer_goes_down_to_the_value_in_the_spelling_that_was_sent(
    service: RunningService, spelling: str, node_type: str
):
    config, places = BAD_CONFIGS[node_type]
    sent = in_spelling(spelling, node_type, config)
    found = errors(service, graph=sent)
    expected = {f"/nodes/0/{spelling}/{place}": value for place, value in places.items()}
    assert {error["pointer"] for error in found} == set(expected)
    for error in found:
        value, parent = walk(sent, error["pointer"])
        assert value is expected[error["pointer"]] or value == expected[error["pointer"]]
        assert isinstance(parent, dict | list)
        assert (error["code"], error["nodeId"]) == ("invalid_config", "n")


MAIN = {
    "nodes": [
        {"id": "a", "type": "trigger"},
        {"id": "a", "type": "mystery"},
        {"id": "b/c", "type": "http", "config": {"httpUrl": "http://x"}},
    ],
    "connections": [
        {"id": "k0", "fromNodeId": "a", "toNodeId": "b/c"},
        {"id": "k1", "fromNodeId": "b/c", "toNodeId": "a"},
        {"id": "k2", "fromNodeId": "b/c", "toNodeId": "gone"},
    ],
}
FLOW = {
    "nodes": [{**item, "position": {"x": 0, "y": 0}} for item in MAIN["nodes"]],
    "edges": [
        {"id": item["id"], "source": item["fromNodeId"], "target": item["toNodeId"]}
        for item in MAIN["connections"]
    ],
}


@pytest.mark.parametrize(("drawn", "key"), [(MAIN, "connections"), (FLOW, "edges")])
def test_graph_errors_point_into_both_formats(
    service: RunningService, drawn: dict[str, Any], key: str
):
    found = {error["code"]: error for error in errors(service, graph=drawn)}
    assert {code: error["pointer"] for code, error in found.items()} == {
        "duplicate_node_id": "/nodes/1/id",
        "invalid_node_id": "/nodes/2/id",
        "dangling_connection": f"/{key}/2",
        "cycle": f"/{key}/1",
        "no_entry_node": "/nodes",
        "unknown_node_type": "/nodes/1/type",
    }
    assert walk(drawn, found["dangling_connection"]["pointer"])[0]["id"] == "k2"
    assert found["dangling_connection"]["connectionId"] == "k2"
    assert walk(drawn, found["unknown_node_type"]["pointer"])[0] == "mystery"


def test_shape_errors_hide_no_other_errors(service: RunningService):
    drawn = {
        "nodes": [
            {"id": "start", "type": "trigger"},
            {"id": "half", "type": "http", "config": "text"},
            {"id": "untyped"},
            {"id": "bad", "type": "llm"},
            {"id": "odd", "type": "mystery"},
        ],
        "connections": [
            {"id": "k0", "fromNodeId": "start", "toNodeId": "half"},
            {"id": "k1", "fromNodeId": "start"},
            {"id": "k2", "fromNodeId": "untyped", "toNodeId": "gone"},
            {"id": "k3", "fromNodeId": "start", "toNodeId": "bad"},
        ],
    }
    assert [(error["code"], error["pointer"]) for error in errors(service, graph=drawn)] == [
        ("invalid_document", "/nodes/1/config"),
        ("invalid_document", "/nodes/2/type"),
        ("invalid_document", "/connections/1/toNodeId"),
        ("dangling_connection", "/connections/2"),
        ("unknown_node_type", "/nodes/4/type"),
        ("invalid_config", "/nodes/3/config/llmPrompt"),
    ]


def test_consequential_errors_are_not_reported(service: RunningService):
    connection = {"id": "k", "fromNodeId": "a", "toNodeId": "b"}
    for nodes in ({}, [5], [{"type": "http"}]):
        found = errors(service, graph={"nodes": nodes, "connections": [connection]})
        assert [error["code"] for error in found] == ["invalid_document"]
    looped = {"nodes": [{"id": "a", "type": []}], "connections": [{**connection, "toNodeId": "a"}]}
    assert [error["code"] for error in errors(service, graph=looped)] == [
        "invalid_document",
        "cycle",
    ]


def test_a_saved_workflow_is_rejected_at_submission_for_the_same_reasons(
    service: RunningService,
):
    for number, drawn in enumerate([MAIN, FLOW, {"nodes": "x"}, "{", {"nodes": []}]):
        workflow_id = service.save(drawn, f"bad/{number}")
        found = errors(service, workflowId=workflow_id)
        refused = service.submit(workflow_id)
        assert refused.status_code == 422
        assert refused.json()["errors"] == found
        if isinstance(drawn, dict):
            assert errors(service, graph=drawn) == found


def test_a_workflow_that_can_run_is_valid_and_nothing_is_stored(service: RunningService):
    drawn = document(node("start", "trigger"), node("end"), flow=("start -> end",))
    before = service.rows("SELECT count(*) FROM workflow_executions")[0][0]
    assert errors(service, graph=drawn) == []
    assert errors(service, workflowId=service.save(drawn, "good")) == []
    assert service.rows("SELECT count(*) FROM workflow_executions")[0][0] == before


def test_an_unknown_workflow_is_a_404(service: RunningService):
    response = service.http.post("/api/workflows/validate", json={"workflowId": "nope"})
    assert response.status_code == 404
    assert response.json()["detail"] == "Workflow 'nope' not found"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "workflowId: Field required, or 'graph' instead"),
        ({"workflowId": "w", "graph": {}}, "'workflowId' and 'graph' exclude each other"),
        ({"graph": []}, "graph: "),
        ({"graph": "{}"}, "graph: "),
        ({"workflowId": 5}, "workflowId: "),
    ],
)
def test_a_request_that_names_no_workflow_or_two_is_a_422(
    service: RunningService, body: dict[str, Any], reason: str
):
    response = service.http.post("/api/workflows/validate", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert reason in response.json()["detail"]
