"""Subworkflow node: its inputs, its output, and its failures."""

from pathlib import Path

import pytest

from tests.support.calls import (
    CALLS,
    FAILS,
    GREETS,
    call,
    child_of,
    children,
    violations,
)
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import sse, streamed_events

pytestmark = pytest.mark.behavior

# Inputs and outputs


@pytest.mark.essential
def test_a_call_outputs_the_final_output_of_its_workflow(service: RunningService) -> None:
    service.save(GREETS, "child", "Greeting")
    done = service.run(CALLS, inputs={"name": "Ada"})
    assert (done["status"], done["error"]) == ("completed", None)
    assert done["finalOutput"] == {"name": "Ada", "greeting": "Hello Ada"}
    log = service.logs(done["executionId"])["call"]
    child = service.poll(log["childExecutionId"])
    assert (child["workflowId"], child["status"]) == ("child", "completed")
    assert child["parentExecutionId"] == done["executionId"]
    assert child["parentNodeId"] == "call"
    assert (done["parentExecutionId"], done["parentNodeId"]) == (None, None)
    (row,) = service.rows("SELECT * FROM workflow_executions WHERE id=?", child["executionId"])
    assert row["triggerType"] == "subworkflow"
    (row,) = service.rows("SELECT * FROM workflow_executions WHERE id=?", done["executionId"])
    assert f'"childExecutionId":"{child["executionId"]}"' in row["nodeResults"]
    assert violations(service) == []


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"who": "{{ name }}", "n": 2}, {"who": "Ada", "n": 2}),
        ({"receive": {"by": "id"}}, {"by": "id"}),
        ("{{ input }}", {"name": "Ada"}),
        ({}, {}),
    ],
)
def test_the_inputs_of_a_call_are_those_of_a_request_with_templates_filled(
    service: RunningService, inputs: object, output: object
) -> None:
    service.save(document(node("receive", "trigger")), "child")
    graph = document(
        node("start", "trigger"), call(subworkflowInputs=inputs), flow=("start -> call",)
    )
    done = service.run(graph, inputs={"name": "Ada"})
    assert done["finalOutput"] == {"call": {"receive": output}}


def test_a_child_without_a_trigger_gets_no_inputs(service: RunningService) -> None:
    service.save(document(node("name", "manualInput", inputVarValue="Eve")), "child")
    done = service.run(CALLS, inputs={"name": "Ada"})
    assert done["finalOutput"] == {"name": {"input": "Eve"}}
    child = child_of(service, done["executionId"])
    (row,) = service.rows("SELECT inputs FROM workflow_executions WHERE id=?", child)
    assert row["inputs"] is None


def test_the_other_spelling_of_the_workflow_is_taken_too(service: RunningService) -> None:
    service.save(GREETS, "child")
    done = service.run(document(node("call", "subworkflow", workflowId="child")))
    assert done["status"] == "failed"
    assert "'name'" in done["error"]  # the child ran without inputs


def test_a_call_runs_the_workflow_as_it_is_saved_when_the_node_begins(
    service: RunningService, gates: Gates
) -> None:
    graph = document(node("gate", "gate"), call(), flow=("gate -> call",))
    service.save(FAILS, "child")
    execution_id = service.start(graph)
    gates.wait_for("gate")
    service.save(document(node("n", "manualInput", inputVarValue=1)), "child")
    gates.open("gate")
    assert service.ended(execution_id)["finalOutput"] == {"call": {"n": {"input": 1}}}


def test_many_nodes_of_one_execution_call_side_by_side(service: RunningService) -> None:
    service.save(document(node("receive", "trigger")), "child")
    calls = [call(f"c{i}", subworkflowInputs={"i": i}) for i in range(12)]
    done = service.run(document(*calls))
    assert done["finalOutput"] == {f"c{i}": {"receive": {"i": i}} for i in range(12)}
    assert len(children(service, done["executionId"])) == 12


# Failures


def test_a_failed_child_fails_its_parent_with_the_reason(service: RunningService) -> None:
    service.save(FAILS, "child", "Printing")
    done = service.run(CALLS)
    child = child_of(service, done["executionId"])
    assert done["status"] == "failed"
    assert done["error"] == (
        f"Node 'call' failed: subworkflow 'Printing' (execution {child}) failed: "
        "Node 'bad' failed: RuntimeError: out of paper"
    )
    assert service.logs(done["executionId"])["call"]["childExecutionId"] == child


@pytest.mark.parametrize(
    ("on_error", "connection"), [("continue", "call -> next"), ("branch", "call -error-> next")]
)
def test_the_failure_of_a_child_is_a_failure_of_the_node(
    service: RunningService, on_error: str, connection: str
) -> None:
    service.save(FAILS, "child")
    graph = document(call(onError=on_error), node("next"), flow=(connection,))
    done = service.run(graph)
    assert done["status"] == "completed"
    assert "out of paper" in done["finalOutput"]["error"]["message"]
    assert done["progress"]["failedNodes"] == 1


@pytest.mark.parametrize(
    ("saved", "reasons"),
    [
        (None, ["Workflow 'child' not found"]),
        ("no JSON", ["'A workflow' (child) cannot be called", "not valid JSON"]),
        (
            document(node("a", "nope"), node("b", "http")),
            ["cannot be called", "unknown type 'nope'", "'httpUrl' is required"],
        ),
    ],
)
def test_an_invalid_child_fails_the_node_with_every_reason(
    service: RunningService, saved: object, reasons: list[str]
) -> None:
    if saved is not None:
        service.save(saved, "child")
    done = service.run(document(call(retries=3)))
    assert done["status"] == "failed"
    for reason in reasons:
        assert reason in done["error"]
    assert service.logs(done["executionId"])["call"]["attempt"] == 1
    assert children(service, done["executionId"]) == []


def test_unused_inputs_fail_the_node(service: RunningService) -> None:
    service.save(document(node("n", "manualInput")), "child")
    done = service.run(document(call(subworkflowInputs={"x": 1})))
    assert "no node accepts input 'x'" in done["error"]


def test_inputs_that_are_not_an_object_fail_the_node(service: RunningService) -> None:
    service.save(GREETS, "child")
    graph = document(
        node("start", "trigger"), call(subworkflowInputs="{{ name }}"), flow=("start -> call",)
    )
    done = service.run(graph, inputs={"name": "Ada"})
    assert "subworkflowInputs: should be an object, not of type string" in done["error"]


@pytest.mark.parametrize(
    "config", [{}, {"subworkflowId": "{{ which }}"}, {"workflowId": "w", "subworkflowInputs": 3}]
)
def test_an_invalid_call_is_rejected_with_its_workflow(
    service: RunningService, config: dict[str, object]
) -> None:
    service.save(document(node("call", "subworkflow", **config)))
    assert service.submit().status_code == 422


def test_a_child_has_its_time_and_is_cancelled_after_it(
    service: RunningService, gates: Gates
) -> None:
    service.save(document(node("gate", "gate")), "child")
    done = service.run(document(call(timeoutSeconds=0.5, onError="continue"), node("next")))
    assert done["status"] == "completed"
    log = service.logs(done["executionId"])["call"]
    assert log["error"] == "subworkflow 'child' did not end within 0.5 s, and was cancelled"
    assert service.ended(log["childExecutionId"])["status"] == "cancelled"
    wait_until(lambda: gates.left == ["gate"] or gates.runs == [])
    assert violations(service) == []


# Reruns and previews


def test_a_rerun_of_the_parent_reuses_completed_nodes_and_calls_again(
    service: RunningService,
) -> None:
    service.save(document(node("n", "manualInput", inputVarValue=1)), "good")
    service.save(FAILS, "child")
    graph = document(call("first", "good"), call(), flow=("first -> call",))
    failed = service.run(graph)
    assert failed["status"] == "failed"
    first = service.logs(failed["executionId"])["first"]["childExecutionId"]
    service.save(document(node("n", "manualInput", inputVarValue=2)), "child")
    again = service.http.post(f"/api/executions/{failed['executionId']}/rerun").json()
    done = service.ended(again["executionId"])
    assert done["finalOutput"] == {"call": {"n": {"input": 2}}}
    logs = service.logs(again["executionId"])
    assert logs["first"]["childExecutionId"] == first
    (child,) = children(service, again["executionId"])
    assert logs["call"]["childExecutionId"] == child["id"]


def test_a_rerun_of_a_child_is_a_top_level_execution(service: RunningService) -> None:
    service.save(FAILS, "child")
    done = service.run(CALLS)
    child = child_of(service, done["executionId"])
    again = service.http.post(f"/api/executions/{child}/rerun").json()["executionId"]
    assert service.ended(again)["parentExecutionId"] is None
    (row,) = service.rows("SELECT triggerType FROM workflow_executions WHERE id=?", again)
    assert row["triggerType"] == "manual"


def test_a_preview_of_a_subworkflow_call_describes_the_call(service: RunningService) -> None:
    service.save(GREETS, "child")
    body = {
        "workflowId": "w",
        "nodeId": "call",
        "nodeType": "subworkflow",
        "node": call(subworkflowInputs={"name": "{{ who }}"}),
        "inputData": {"who": "Ada"},
    }
    response = service.http.post("/api/nodes/execute", json=body).json()
    assert response["success"] is True
    said = {"workflowId": "child", "inputs": {"name": "Ada"}}
    assert response["output"]["park"] == {"call": said}
    assert service.rows("SELECT * FROM workflow_executions") == []


def test_the_result_of_a_child_is_not_stored_beside_a_hidden_node(
    service: RunningService,
) -> None:
    service.save(document(node("n", "manualInput", inputVarValue="c4n4ry")), "child")
    graph = document(
        call(hideData=True),
        node("test", "condition", conditionField="n.input", conditionValue="c4n4ry", hideData=True),
        node("yes", "output", hideData=True),
        flow=("call -> test", "test -true-> yes"),
    )
    done = service.run(graph)
    assert (done["status"], done["finalOutput"]) == ("completed", {"hidden": True})
    rows = service.rows(
        "SELECT * FROM execution_logs WHERE executionId=?", done["executionId"]
    ) + service.rows("SELECT * FROM workflow_executions WHERE id=?", done["executionId"])
    assert len(rows) == 4
    assert all("c4n4ry" not in str(tuple(row)) for row in rows)


def test_streams_name_the_child_where_the_node_waits_and_ends(
    service: RunningService, gates: Gates
) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    child = child_of(service, execution_id)
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        (log,) = [log for log in next(events).data["logs"] if log["nodeId"] == "call"]
        assert (log["status"], log["childExecutionId"]) == ("waiting", child)
    gates.open("gate")
    service.ended(execution_id)
    seen = [
        (log["status"], log["childExecutionId"])
        for event in streamed_events(service, execution_id, last=0)
        for log in event.data["logs"]
        if log["nodeId"] == "call"
    ]
    assert seen == [("running", None), ("waiting", child), ("completed", child)]


def test_the_list_shows_whose_child_an_execution_is(service: RunningService) -> None:
    service.save(GREETS, "child")
    done = service.run(CALLS, inputs={"name": "Ada"})
    child = child_of(service, done["executionId"])
    listed = service.http.get("/api/executions").json()["executions"]
    assert {item["id"]: item["parentExecutionId"] for item in listed} == {
        child: done["executionId"],
        done["executionId"]: None,
    }
    assert children(service, child) == []


def test_calls_continue_after_a_restart(tmp_path: Path) -> None:
    ask = document(node("ask", "approval"), node("yes"), flow=("ask -true-> yes",))
    with RunningService(tmp_path, PROBE_TYPES) as service:
        service.save(ask, "child")
        execution_id = service.start(CALLS)
        child = child_of(service, execution_id)
        wait_until(lambda: service.poll(child)["status"] == "waiting")
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with RunningService(tmp_path, PROBE_TYPES) as service:
        path = f"/api/executions/{child}/nodes/ask/resume"
        assert service.http.post(path, json={"data": {"by": "Ada"}}).status_code == 200
        assert service.ended(execution_id)["finalOutput"] == {"by": "Ada"}


# Organizations


def owned(service: RunningService, workflow_id: str, graph: object, organization: str | None):
    service.save(graph, workflow_id)
    service.write("UPDATE workflows SET organizationId=? WHERE id=?", organization, workflow_id)


@pytest.mark.parametrize(
    ("asked_for", "caller", "called", "allowed"),
    [
        (None, "A", "A", True),
        (None, None, None, True),
        ("A", None, None, True),
        ("A", None, "A", True),
        ("A", "B", "B", True),
        (None, "A", "B", False),
        (None, "A", None, False),
        (None, None, "A", False),
        ("A", None, "B", False),
    ],
)
def test_only_workflows_of_the_same_organization_can_be_called(
    service: RunningService,
    asked_for: str | None,
    caller: str | None,
    called: str | None,
    allowed: bool,
) -> None:
    owned(service, "child", document(node("n", "manualInput")), called)
    owned(service, "w", CALLS, caller)
    body = {} if asked_for is None else {"organizationId": asked_for}
    done = service.ended(service.submit(**body).json()["executionId"])
    if allowed:
        assert done["status"] == "completed"
        child = service.poll(child_of(service, done["executionId"]))
        assert child["organizationId"] == done["organizationId"]
    else:
        assert done["error"] == "Node 'call' failed: Workflow 'child' not found"


def test_the_rows_of_unsaved_documents_cannot_be_called(service: RunningService) -> None:
    graph = document(call(workflow_id="orchestrator-inline"))
    response = service.http.post("/api/workflows/execute", json={"graph": graph}).json()
    error = service.ended(response["executionId"])["error"]
    assert "Workflow 'orchestrator-inline' not found" in error


def test_secrets_do_not_go_into_the_rows_of_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cr3t-of-the-parent")
    with RunningService(tmp_path, PROBE_TYPES) as service:
        service.save(document(node("receive", "trigger")), "child")
        done = service.run(document(call(subworkflowInputs={"token": "{{ secrets.TOKEN }}"})))
        assert done["finalOutput"] == {"call": {"receive": {"token": "***"}}}
        assert b"s3cr3t-of-the-parent" not in service.path.read_bytes()
