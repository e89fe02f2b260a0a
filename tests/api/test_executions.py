"""Executions over HTTP: submitted, polled, cancelled, listed, and read with SQL."""

import json
import re

import pytest

from tests.support.documents import document, line, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_root_reports_that_the_service_runs(shared_service: RunningService) -> None:
    response = shared_service.http.get("/")
    body = response.json()
    assert response.status_code == 200
    assert body["service"] == "Workflow Orchestration Service"
    assert body["status"] == "running"
    assert TIMESTAMP.fullmatch(body["timestamp"])
    assert body["version"]


def test_a_submission_returns_200_and_the_url_of_the_execution(
    shared_service: RunningService,
) -> None:
    shared_service.save(line(3), "w-answer", "My workflow")
    response = shared_service.submit("w-answer")
    body = response.json()
    execution_id = body.pop("executionId")
    assert response.status_code == 200
    assert response.headers["location"] == f"/api/executions/{execution_id}"
    assert body == {
        "success": True,
        "status": "pending",
        "message": "Workflow execution started in background",
        "workflowId": "w-answer",
        "workflowName": "My workflow",
    }
    polled = shared_service.http.get(response.headers["location"])
    assert polled.json()["executionId"] == execution_id


def test_polling_a_completed_execution(shared_service: RunningService) -> None:
    done = shared_service.run(line(12), inputs={"who": "world"})
    assert done["status"] == "completed"
    assert done["error"] is None
    assert done["currentNodeId"] is None
    assert done["organizationId"] is None
    assert done["progress"] == {
        "totalNodes": 12,
        "completedNodes": 12,
        "failedNodes": 0,
        "skippedNodes": 0,
        "percentage": 100,
    }
    assert [TIMESTAMP.fullmatch(done[key]) is not None for key in STAMPS] == [True] * 3
    assert done["createdAt"] <= done["startedAt"] <= done["completedAt"]
    assert [log["nodeId"] for log in done["logs"]] == [*(f"n{i}" for i in range(1, 10)), "end"]
    assert done["finalOutput"] == {"who": "world", **{f"f{i}": i for i in range(10)}}


STAMPS = ("createdAt", "startedAt", "completedAt")


def test_logs_have_one_row_a_node_in_the_order_of_start(shared_service: RunningService) -> None:
    execution_id = shared_service.start(line(4), inputs={"a": 1})
    shared_service.ended(execution_id)
    logs = shared_service.logs(execution_id)
    assert list(logs) == ["start", "n0", "n1", "end"]
    first = logs["n0"]
    assert first["nodeType"] == "addField"
    assert first["nodeLabel"] == "n0"
    assert first["status"] == "completed"
    assert first["inputData"] == {"a": 1}
    assert first["outputData"] == {"a": 1, "f0": 0}
    assert first["error"] is None
    assert first["attempt"] == 1
    assert isinstance(first["duration"], int)
    assert TIMESTAMP.fullmatch(first["timestamp"])


def test_sqlite3_shows_the_run(shared_service: RunningService) -> None:
    execution_id = shared_service.start(line(3))
    shared_service.ended(execution_id)
    (row,) = shared_service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id)
    assert row["status"] == "completed"
    assert row["triggerType"] == "manual"
    assert json.loads(row["finalOutput"]) == {"f0": 0}
    results = json.loads(row["nodeResults"])
    assert list(results) == ["start", "n0", "end"]
    assert results["n0"]["success"] is True
    assert results["n0"]["outputData"] == {"f0": 0}
    assert results["end"]["isFinal"] is True
    logs = shared_service.rows("SELECT * FROM execution_logs WHERE executionId=?", execution_id)
    assert len(logs) == 3
    assert {row["status"] for row in logs} == {"completed"}


@pytest.mark.essential
def test_progress_while_it_runs(service: RunningService, gates: Gates) -> None:
    flow = ("start -> gate", "gate -> end")
    execution_id = service.start(document(node("start", "trigger"), GATE, node("end"), flow=flow))
    gates.wait_for("gate")
    seen = service.poll(execution_id)
    assert seen["status"] == "running"
    assert seen["currentNodeId"] == "gate"
    assert seen["completedAt"] is None
    assert seen["finalOutput"] is None
    assert seen["progress"] == {
        "totalNodes": 3,
        "completedNodes": 1,
        "failedNodes": 0,
        "skippedNodes": 0,
        "percentage": 33,
    }
    assert {log["nodeId"]: log["status"] for log in seen["logs"]} == {
        "start": "completed",
        "gate": "running",
    }
    gates.open("gate")
    assert service.ended(execution_id)["progress"]["percentage"] == 100


GATE = node("gate", "gate")


def test_nothing_is_written_to_payload_columns_before_the_end(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(document(GATE))
    gates.wait_for("gate")
    (row,) = service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id)
    assert (row["nodeResults"], row["finalOutput"]) == (None, None)


def test_independent_branches_run_in_parallel(service: RunningService, gates: Gates) -> None:
    left, right = node("left", "gate"), node("right", "gate")
    graph = document(
        node("start", "trigger"),
        left,
        right,
        node("end"),
        flow=("start -> left", "start -> right", "left -> end", "right -> end"),
    )
    execution_id = service.start(graph)
    gates.wait_for("left", "right")  # both are at their gates before one is opened
    gates.open("left", "right")
    assert service.ended(execution_id)["status"] == "completed"
    assert list(service.logs(execution_id)).count("end") == 1


def test_a_failing_node_names_itself_and_the_reason(shared_service: RunningService) -> None:
    broken = {**node("bad", "raise", message="no such thing"), "label": "Fetch the data"}
    done = shared_service.run(
        document(node("start", "trigger"), broken, node("end"), flow=("start -> bad", "bad -> end"))
    )
    assert done["status"] == "failed"
    assert done["error"] == "Node 'Fetch the data' (bad) failed: RuntimeError: no such thing"
    assert done["finalOutput"] is None
    assert done["progress"]["failedNodes"] == 1
    assert done["progress"]["percentage"] < 100
    logs = shared_service.logs(done["executionId"])
    assert logs["bad"]["status"] == "error"
    assert logs["bad"]["error"] == "RuntimeError: no such thing"
    assert "end" not in logs


def test_nodes_in_flight_finish_when_another_one_stops_the_run(
    service: RunningService, gates: Gates
) -> None:
    graph = document(
        node("start", "trigger"),
        node("slow", "gate"),
        node("bad", "raise"),
        node("after", "output"),
        flow=("start -> slow", "start -> bad", "slow -> after"),
    )
    execution_id = service.start(graph)
    gates.wait_for("slow")
    wait_until(lambda: service.logs(execution_id)["bad"]["status"] == "error")
    assert service.poll(execution_id)["status"] == "running"
    gates.open("slow")
    assert service.ended(execution_id)["status"] == "failed"
    logs = service.logs(execution_id)
    assert logs["slow"]["status"] == "completed"
    assert "after" not in logs


def test_on_error_continue_hands_the_error_on(shared_service: RunningService) -> None:
    bad = node("bad", "raise", onError="continue", message="oh")
    done = shared_service.run(document(bad, node("end"), flow=("bad -> end",)))
    assert done["status"] == "completed"
    assert done["finalOutput"] == {"error": {"nodeId": "bad", "message": "RuntimeError: oh"}}
    assert done["progress"]["failedNodes"] == 1
    assert done["progress"]["percentage"] == 100


def test_on_error_branch_takes_the_error_connection(shared_service: RunningService) -> None:
    bad = node("bad", "raise", onError="branch")
    done = shared_service.run(
        document(bad, node("good"), node("rescue"), flow=("bad -> good", "bad -error-> rescue"))
    )
    assert done["status"] == "completed"
    logs = shared_service.logs(done["executionId"])
    assert {i: log["status"] for i, log in logs.items()} == {
        "bad": "error",
        "good": "skipped",
        "rescue": "completed",
    }


def test_retries_are_visible_and_count_as_one_node(
    shared_service: RunningService, gates: Gates
) -> None:
    flaky = node("flaky", "flaky", failures=2, retries=2, retryDelaySeconds=0)
    done = shared_service.run(document(flaky))
    assert done["status"] == "completed"
    assert done["progress"]["totalNodes"] == 1
    log = shared_service.logs(done["executionId"])["flaky"]
    assert log["attempt"] == 3
    assert "attempt 2 went wrong" in log["lastError"]
    assert log["error"] is None
    assert log["outputData"] == {"attempt": 3}


def test_a_timeout_ends_a_node_that_hangs(shared_service: RunningService, gates: Gates) -> None:
    done = shared_service.run(document(node("slow", "gate", timeoutSeconds=0.2)))
    assert done["status"] == "failed"
    assert "timed out after 0.2 s" in done["error"]
    assert gates.left == ["slow"]


def test_a_synchronous_handler_that_hangs_is_left_behind(
    shared_service: RunningService, gates: Gates
) -> None:
    done = shared_service.run(document(node("slow", "sync", timeoutSeconds=0.2)))
    assert done["status"] == "failed"
    assert "timed out after 0.2 s" in done["error"]


@pytest.mark.essential
def test_cancelling_stops_a_node_in_the_middle(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(GATE, node("end"), flow=("gate -> end",)))
    gates.wait_for("gate")
    response = service.http.post(f"/api/executions/{execution_id}/cancel")
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "executionId": execution_id,
        "message": "Cancellation requested",
        "previousStatus": "running",
    }
    done = service.ended(execution_id)
    assert done["status"] == "cancelled"
    assert done["currentNodeId"] is None
    assert gates.left == ["gate"]
    logs = service.logs(execution_id)
    assert logs["gate"]["status"] == "cancelled"
    assert "end" not in logs


def test_an_abandoned_synchronous_handler_is_logged(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(node("slow", "sync")))
    gates.wait_for("slow")
    assert service.http.post(f"/api/executions/{execution_id}/cancel").json()["success"] is True
    assert service.ended(execution_id)["status"] == "cancelled"
    log = service.logs(execution_id)["slow"]
    assert log["status"] == "cancelled"
    assert "synchronous" in log["error"]
    gates.open("slow")
    assert service.logs(execution_id)["slow"] == log


def test_cancelling_a_queued_execution(tmp_path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=1) as service:
        running = service.start(document(GATE))
        gates.wait_for("gate")
        waiting = service.submit().json()["executionId"]
        assert service.poll(waiting)["status"] == "pending"
        response = service.http.post(f"/api/executions/{waiting}/cancel").json()
        assert (response["success"], response["previousStatus"]) == (True, "pending")
        assert service.poll(waiting)["status"] == "cancelled"
        gates.open("gate")
        assert service.ended(running)["status"] == "completed"
        assert service.logs(waiting) == {}


def test_cancelling_an_ended_execution_changes_nothing(shared_service: RunningService) -> None:
    done = shared_service.run(line(2))
    response = shared_service.http.post(f"/api/executions/{done['executionId']}/cancel")
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert response.json()["previousStatus"] == "completed"
    assert shared_service.poll(done["executionId"]) == done


def test_executions_of_a_workflow_are_listed_newest_first(shared_service: RunningService) -> None:
    shared_service.save(line(2), "w-list", "Listed")
    ids = [shared_service.submit("w-list").json()["executionId"] for _ in range(5)]
    for execution_id in ids:
        shared_service.ended(execution_id)
    response = shared_service.http.get("/api/workflows/w-list/executions?limit=3").json()
    assert (response["workflowId"], response["workflowName"]) == ("w-list", "Listed")
    assert response["total"] == 5
    assert [row["id"] for row in response["executions"]] == ids[::-1][:3]
    assert set(response["executions"][0]) == {
        "id",
        "workflowId",
        "status",
        "createdAt",
        "startedAt",
        "completedAt",
        "error",
    }


def test_at_most_so_many_run_at_once_and_the_oldest_goes_first(tmp_path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=2) as service:
        ids = []
        for i in range(5):
            service.save(document(node("n", "gate", gate=f"g{i}")), f"w{i}")
            ids.append(service.submit(f"w{i}").json()["executionId"])
        gates.wait_for("g0", "g1")
        assert [service.poll(i)["status"] for i in ids] == ["running"] * 2 + ["pending"] * 3
        gates.open("g0")
        gates.wait_for("g2")
        assert [service.poll(i)["status"] for i in ids[2:]] == ["running", "pending", "pending"]
        gates.open("g1")
        gates.wait_for("g3")
        assert service.poll(ids[4])["status"] == "pending"
        gates.open("g2", "g3", "g4")
        assert {service.ended(i)["status"] for i in ids} == {"completed"}


def test_an_execution_keeps_the_definition_it_was_submitted_with(tmp_path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=1) as service:
        first = service.start(document(GATE))
        gates.wait_for("gate")
        service.save(document(node("old", "trigger")), "w2")
        waiting = service.submit("w2").json()["executionId"]
        service.save(document(node("new", "trigger")), "w2")
        gates.open("gate")
        service.ended(first)
        assert service.ended(waiting)["finalOutput"] == {"old": {}}


def test_the_node_backend_may_write_to_the_row_at_once(shared_service: RunningService) -> None:
    execution_id = shared_service.start(line(5))
    shared_service.write(
        "UPDATE workflow_executions SET triggeredByName=?, versionNumber=? WHERE id=?",
        "Ada",
        7,
        execution_id,
    )
    shared_service.ended(execution_id)
    (row,) = shared_service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id)
    assert (row["triggeredByName"], row["versionNumber"]) == ("Ada", 7)


def test_a_handler_that_changes_its_input_affects_no_other_node(
    shared_service: RunningService,
) -> None:
    graph = document(
        node("start", "trigger"),
        node("a", "mutate"),
        node("b", "mutate"),
        flow=("start -> a", "start -> b"),
    )
    done = shared_service.run(graph, inputs={"x": 1})
    logs = shared_service.logs(done["executionId"])
    assert logs["start"]["outputData"] == {"x": 1}
    assert logs["a"]["inputData"] == logs["b"]["inputData"] == {"x": 1}
    assert done["finalOutput"] == {
        "a": {"x": 1, "changedBy": "a"},
        "b": {"x": 1, "changedBy": "b"},
    }


def test_polling_truncates_large_payloads_and_logs_are_complete(
    shared_service: RunningService,
) -> None:
    text = "é" * 20_000
    done = shared_service.run(document(node("start", "trigger")), inputs={"text": text})
    cut = done["logs"][0]["outputData"]
    assert cut["truncated"] is True
    assert cut["size"] > 20_000
    assert cut["preview"].startswith('{"text":"ééé')
    assert len(json.dumps(cut, ensure_ascii=False)) < 9_000
    whole = shared_service.logs(done["executionId"])["start"]["outputData"]
    assert whole == {"text": text}
