"""Code node in a running service: disabled by default, and enabled by its setting."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until

DOUBLE = node("double", "code", code="print('hello')\n[row['n'] * 2 for row in input['rows']]")


@pytest.fixture(scope="module")
def enabled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("code"), enable_code_node=True) as service:
        yield service


def flow(code: dict[str, object]) -> dict[str, object]:
    connections = (f"start -> {code['id']}", f"{code['id']} -> end")
    return document(node("start", "trigger"), code, node("end"), flow=connections)


def test_a_disabled_type_is_rejected_with_the_name_of_the_setting(
    shared_service: RunningService,
):
    response = shared_service.submit(shared_service.save(flow(DOUBLE)))
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["code"], error["nodeId"], error["pointer"]) == (
        "node_type_disabled",
        "double",
        "/nodes/1/type",
    )
    assert "ENABLE_CODE_NODE=true" in error["detail"]
    assert shared_service.rows("SELECT id FROM workflow_executions") == []


def test_a_disabled_node_cannot_be_previewed(shared_service: RunningService):
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "code", "node": DOUBLE}
    result = shared_service.http.post("/api/nodes/execute", json=body).json()
    assert not result["success"]
    assert "ENABLE_CODE_NODE=true" in result["error"]


def test_an_enabled_node_runs(enabled: RunningService):
    done = enabled.run(flow(DOUBLE), inputs={"rows": [{"n": 1}, {"n": 2}]})
    assert (done["status"], done["error"], done["finalOutput"]) == ("completed", None, [2, 4])
    (row,) = enabled.rows(
        "SELECT nodeResults FROM workflow_executions WHERE id = ?", done["executionId"]
    )
    assert '"stdout":"hello\\n"' in row["nodeResults"]


def test_a_failure_ends_the_execution_and_names_the_line(enabled: RunningService):
    done = enabled.run(flow(node("bad", "code", code="x = 1\nx / 0", retries=3)))
    assert done["status"] == "failed"
    assert done["error"] == (
        "Node 'bad' failed: the code raised ZeroDivisionError: division by zero (line 2: x / 0)"
    )
    assert enabled.logs(done["executionId"])["bad"]["attempt"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_cancelling_the_execution_ends_the_process(enabled: RunningService, tmp_path: Path):
    code = f"import os\nos.mkdir({str(tmp_path)!r} + '/' + str(os.getpid()))\nwhile True: pass"
    execution_id = enabled.start(flow(node("loop", "code", code=code)))
    (pid,) = wait_until(lambda: [path.name for path in tmp_path.iterdir()])
    assert enabled.http.post(f"/api/executions/{execution_id}/cancel").json()["success"]
    assert enabled.ended(execution_id)["status"] == "cancelled"
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stopping_the_service_ends_the_process(tmp_path: Path):
    directory = tmp_path / "pids"
    directory.mkdir()
    code = f"import os\nos.mkdir({str(directory)!r} + '/' + str(os.getpid()))\nwhile True: pass"
    with RunningService(tmp_path, enable_code_node=True) as service:
        service.start(flow(node("loop", "code", code=code, timeoutSeconds=3600)))
        (pid,) = wait_until(lambda: [path.name for path in directory.iterdir()])
    assert not Path(f"/proc/{pid}").exists()
