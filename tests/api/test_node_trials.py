"""Node previews: run one node immediately and without an execution."""

import pytest

from tests.support.probe_nodes import Gates
from tests.support.service import RunningService


def test_a_node_is_tried_out_alone_without_an_execution(shared_service: RunningService) -> None:
    before = shared_service.rows("SELECT count(*) FROM workflow_executions")[0][0]
    body = {
        "workflowId": "not saved yet",
        "nodeId": "n1",
        "nodeType": "addField",
        "node": {"config": {"addFieldName": "a", "addFieldValue": "{{ b }}"}},
        "inputData": {"b": 3},
    }
    response = shared_service.http.post("/api/nodes/execute", json=body)
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert (response.json()["nodeId"], response.json()["nodeType"]) == ("n1", "addField")
    assert response.json()["output"]["outputData"] == {"b": 3, "a": 3}
    assert response.json()["message"]
    assert shared_service.rows("SELECT count(*) FROM workflow_executions")[0][0] == before


@pytest.mark.parametrize(
    ("node_type", "config", "reason"),
    [
        ("raise", {"message": "oh no"}, "RuntimeError: oh no"),
        ("http", {}, "httpUrl"),
        ("give", {"gift": "a failure"}, "the other side said no"),
        ("gate", {"timeoutSeconds": 0.05}, "timed out"),
    ],
)
def test_a_failed_preview_is_a_response(
    shared_service: RunningService, gates: Gates, node_type: str, config: object, reason: str
) -> None:
    body = {
        "workflowId": "w",
        "nodeId": "n",
        "nodeType": node_type,
        "node": {"config": config},
    }
    response = shared_service.http.post("/api/nodes/execute", json=body)
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert reason in response.json()["error"]


def test_a_node_of_unknown_type_alone_is_a_400(shared_service: RunningService) -> None:
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "nope", "node": {}}
    response = shared_service.http.post("/api/nodes/execute", json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert "'nope'" in response.json()["detail"]
    assert "addField" in response.json()["detail"]
