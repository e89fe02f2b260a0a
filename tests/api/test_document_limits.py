"""Maximum number of nodes and connections of a document, and of single-node runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.document import MAX_LABEL_CHARACTERS
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

NODES = 4
CONNECTIONS = 3


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(
        tmp_path_factory.mktemp("service"),
        PROBE_TYPES,
        max_workflow_nodes=NODES,
        max_workflow_connections=CONNECTIONS,
        max_concurrent_node_previews=2,
    ) as running:
        yield running


# Every config is invalid, so that a later check would add errors to the response.
TOO_MANY_NODES = document(*(node(f"n{i}", "http") for i in range(NODES + 1)))
TOO_MANY_CONNECTIONS = document(
    node("a", "http"), node("b", "http"), flow=("a -> b",) * (CONNECTIONS + 1)
)
AS_REACT_FLOW = {
    "nodes": [{"id": "a", "type": "http", "data": {}}, {"id": "b", "type": "http", "data": {}}],
    "edges": [{"id": str(i), "source": "a", "target": "b"} for i in range(CONNECTIONS + 1)],
}
LARGE = [
    pytest.param(TOO_MANY_NODES, "MAX_WORKFLOW_NODES", "/nodes", id="nodes"),
    pytest.param(
        TOO_MANY_CONNECTIONS, "MAX_WORKFLOW_CONNECTIONS", "/connections", id="connections"
    ),
    pytest.param(AS_REACT_FLOW, "MAX_WORKFLOW_CONNECTIONS", "/edges", id="edges"),
]


@pytest.mark.parametrize(("large", "setting", "pointer"), LARGE)
@pytest.mark.parametrize("call", ["execute", "graph", "save", "change"])
def test_a_document_with_too_many_parts_is_rejected_and_nothing_is_stored(
    strict: RunningService, call: str, large: dict[str, Any], setting: str, pointer: str
):
    small = document(node("only"))
    strict.save(large if call == "execute" else small)
    before = strict.rows("SELECT count(*) FROM workflow_executions")
    saved = strict.rows("SELECT id, data FROM workflows ORDER BY id")
    if call == "execute":
        response = strict.submit()
    elif call == "graph":
        response = strict.http.post("/api/workflows/execute", json={"graph": large})
    elif call == "save":
        response = strict.http.post("/api/workflows", json={"name": "new", "data": large})
    else:
        response = strict.http.put("/api/workflows/w", json={"name": "new", "data": large})

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    (error,) = response.json()["errors"]
    assert setting in error["detail"]
    prefix = {"execute": "", "graph": "/graph"}.get(call, "/data")
    assert error["pointer"] == f"{prefix}{pointer}"
    assert strict.rows("SELECT count(*) FROM workflow_executions") == before
    assert strict.rows("SELECT id, data FROM workflows ORDER BY id") == saved


@pytest.mark.parametrize(("large", "setting", "pointer"), LARGE)
@pytest.mark.parametrize("is_saved", [True, False])
def test_validate_reports_too_many_parts_and_nothing_else(
    strict: RunningService, is_saved: bool, large: dict[str, Any], setting: str, pointer: str
):
    body = {"workflowId": strict.save(large)} if is_saved else {"graph": large}
    response = strict.http.post("/api/workflows/validate", json=body)

    assert response.status_code == 200
    assert response.json()["valid"] is False
    (error,) = response.json()["errors"]
    assert setting in error["detail"]
    assert error["pointer"] == pointer


def test_a_subworkflow_with_too_many_nodes_fails_the_node_that_calls_it(strict: RunningService):
    strict.save(TOO_MANY_NODES, "called")
    call = document(node("call", "subworkflow", subworkflowId="called"))
    ended = strict.run(call)
    assert ended["status"] == "failed"
    assert "MAX_WORKFLOW_NODES" in ended["error"]
    assert strict.logs(ended["executionId"])["call"]["attempt"] == 1


def test_a_document_with_the_maximum_number_of_parts_runs(strict: RunningService):
    most = document(*(node(f"n{i}") for i in range(NODES)), flow=("n0 -> n1",) * CONNECTIONS)
    assert strict.run(most)["status"] == "completed"


def test_a_long_label_is_cut_where_it_is_stored_again(service: RunningService):
    long = {**node("a"), "label": "x" * 100_000}
    ended = service.run(document(long))
    label = service.logs(ended["executionId"])["a"]["nodeLabel"]
    assert label == "x" * MAX_LABEL_CHARACTERS + "…"


def test_single_node_runs_beyond_the_maximum_are_rejected_until_one_ends(
    strict: RunningService, gates: Gates
):
    def preview(name: str) -> Any:
        body = {"workflowId": "w", "nodeId": name, "nodeType": "gate", "node": {"config": {}}}
        return strict.http.post("/api/nodes/execute", json=body)

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(preview, name) for name in ("first", "second")]
        gates.wait_for("first", "second")
        refused = preview("third")
        gates.open("first", "second", "fourth")
        assert [run.result().json()["success"] for run in running] == [True, True]

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["content-type"] == "application/problem+json"
    assert "MAX_CONCURRENT_NODE_PREVIEWS" in refused.json()["detail"]
    assert "third" not in gates.runs
    wait_until(lambda: preview("fourth").status_code == 200)


def test_a_failed_preview_releases_its_slot(tmp_path: Path):
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "raise", "node": {"config": {}}}
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_node_previews=1) as running:
        answers = [running.http.post("/api/nodes/execute", json=body) for _ in range(3)]
    assert [response.status_code for response in answers] == [200] * 3
