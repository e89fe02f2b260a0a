"""Failure workflows: they start once with the failed execution, and never start one another."""

from collections.abc import Iterator

import pytest

from database.check import check_database
from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.problems import problem_of
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService, wait_until

OF_SERVICE, OF_ORGANIZATION, OF_WORKFLOW = "of-service", "of-organization", "of-workflow"
HANDLES = document(node("receive", "trigger"), node("end"), flow=("receive -> end",))
BREAKS = document(node("receive", "trigger"), node("bad", "raise"), flow=("receive -> bad",))
_UNFINISHED = "SELECT 1 FROM workflow_executions WHERE status IN ('pending', 'running')"
FAILS = document(node("start", "trigger"), node("bad", "raise"), flow=("start -> bad",))


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service of ``service``, with failure workflows and a queue of one execution."""
    reused = ReusedService(
        tmp_path_factory.mktemp("failures"),
        PROBE_TYPES,
        on_failure_workflow_id=OF_SERVICE,
        on_failure_workflow_ids=f'{{"A": "{OF_ORGANIZATION}"}}',
        max_concurrent_executions=1,
        max_pending_executions=1,
    )
    yield reused
    reused.stop()


@pytest.fixture
def service(service: RunningService) -> Iterator[RunningService]:
    """Check the invariants of the database of the service at the end."""
    yield service
    report = check_database(service.settings.url)
    assert report.exit_code == 0, report.lines


def naming(workflow_id: object, graph: dict = FAILS) -> dict:
    """Return a document that names a failure workflow."""
    return {**graph, "settings": {"onFailureWorkflowId": workflow_id}}


def save(service: RunningService, workflow_id: str, graph: object, organization: str | None) -> str:
    service.save(graph, workflow_id, f"Name of {workflow_id}")
    service.write("UPDATE workflows SET organizationId=? WHERE id=?", organization, workflow_id)
    return workflow_id


def started(service: RunningService) -> list[dict]:
    """Return the ended executions that failures started, oldest first."""
    query = (
        "SELECT e.id, e.status, e.workflowId, r.failureOf FROM workflow_executions e"
        " JOIN orchestrator_runs r ON r.executionId = e.id WHERE r.failureOf IS NOT NULL"
        " ORDER BY r.position"
    )
    done = ("completed", "failed")

    def read_ended() -> tuple[list[dict]] | None:
        rows = [dict(row) for row in service.rows(query)]
        return (rows,) if all(row["status"] in done for row in rows) else None

    # One read decides and is returned: a second one can show an execution that just started.
    (rows,) = wait_until(read_ended)  # type: ignore[misc]
    return rows


@on_both()
def test_executions_that_a_failure_workflow_starts_over_http_start_none(
    service: RunningService,
) -> None:
    save(service, OF_WORKFLOW, HANDLES, None)
    failed = service.run(naming(OF_WORKFLOW))["executionId"]
    (handler,) = started(service)
    service.save({**FAILS, "nodes": [node("start", "webhook"), FAILS["nodes"][1]]}, "hook")
    key = {"Idempotency-Key": f"{handler['id']}:call"}
    calls = (
        ("/api/workflows/execute", {"workflowId": "w"}),
        (f"/api/executions/{failed}/rerun", {}),
        ("/api/webhook/hook", {}),
    )
    for path, body in calls:
        for headers, is_called in ((key, True), ({"Idempotency-Key": "another:call"}, False)):
            # The queue has one place, and a failure workflow may still be in it.
            wait_until(lambda: not service.rows(_UNFINISHED))
            answer = service.http.post(path, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            ended = service.ended(answer.json()["executionId"])
            assert ended["status"] == "failed"
            assert (ended["failureWorkflow"] is None) == is_called, path
            assert ended["failureOf"] == (failed if is_called else None)


@on_both()
def test_the_failure_workflow_of_a_workflow_receives_the_failed_execution(
    service: RunningService,
) -> None:
    save(service, OF_WORKFLOW, HANDLES, None)
    failed = service.run(naming(OF_WORKFLOW), inputs={"password": "open sesame"})
    assert failed["status"] == "failed"
    (run,) = started(service)
    handled = service.poll(run["id"])
    assert failed["failureWorkflow"] == {
        "workflowId": OF_WORKFLOW,
        "executionId": run["id"],
        "error": None,
    }
    assert (handled["status"], handled["failureOf"]) == ("completed", failed["executionId"])
    assert (failed["failureOf"], handled["failureWorkflow"]) == (None, None)
    (row,) = service.rows("SELECT triggerType FROM workflow_executions WHERE id=?", run["id"])
    assert row["triggerType"] == "failure"
    path = f"/api/executions/{failed['executionId']}"
    expected = {
        "executionId": failed["executionId"],
        "workflowId": "w",
        "workflowName": "A workflow",
        "organizationId": None,
        "status": "failed",
        "error": failed["error"],
        "node": {
            "id": "bad",
            "type": "raise",
            "label": "bad",
            "attempt": 1,
            "error": "RuntimeError: it went wrong",
        },
        "triggerType": "manual",
        **{key: failed[key] for key in ("createdAt", "startedAt", "completedAt", "rerunOf")},
        "parentExecutionId": None,
        "executionUrl": path,
        "logsUrl": f"{path}/logs",
    }
    assert handled["finalOutput"] == expected
    assert "open sesame" not in str(service.poll(run["id"]))


@pytest.mark.parametrize(
    ("organization", "document_names", "starts"),
    [
        (None, False, OF_SERVICE),
        ("A", False, OF_ORGANIZATION),
        ("A", True, OF_WORKFLOW),
        ("B", False, OF_SERVICE),
    ],
)
def test_the_nearest_failure_workflow_starts(
    service: RunningService, organization: str | None, document_names: bool, starts: str
) -> None:
    save(service, OF_SERVICE, HANDLES, None)
    save(service, OF_ORGANIZATION, HANDLES, "A")
    save(service, OF_WORKFLOW, HANDLES, organization)
    save(service, "w", naming(OF_WORKFLOW) if document_names else FAILS, organization)
    failed = service.ended(service.submit("w").json()["executionId"])
    assert [run["workflowId"] for run in started(service)] == [starts]
    handled = service.poll(failed["failureWorkflow"]["executionId"])
    assert (handled["status"], handled["organizationId"]) == ("completed", organization)


def test_a_failing_failure_workflow_starts_no_other_one(service: RunningService) -> None:
    save(service, OF_SERVICE, HANDLES, None)
    save(service, "child", FAILS, None)
    calls = node("call", "subworkflow", subworkflowId="child")
    save(
        service,
        OF_WORKFLOW,
        naming(OF_SERVICE, document(node("receive", "trigger"), calls, flow=("receive -> call",))),
        None,
    )
    failed = service.run(naming(OF_WORKFLOW))["executionId"]
    first = ["of-workflow", "child"]
    assert [(run["workflowId"], run["status"]) for run in started(service)] == [
        (name, "failed") for name in first
    ]
    # A rerun of the failure workflow's execution, and of the one that it called.
    for run in started(service):
        response = service.http.post(f"/api/executions/{run['id']}/rerun", json={})
        assert response.status_code == 200, response.text
        assert service.ended(response.json()["executionId"])["status"] == "failed"
    found = started(service)
    assert {run["failureOf"] for run in found} == {failed}
    assert {run["workflowId"] for run in found} == {"of-workflow", "child"}
    rows = service.rows("SELECT * FROM orchestrator_failures WHERE failureWorkflowId IS NOT NULL")
    assert [row["executionId"] for row in rows] == [failed]


def test_a_workflow_is_not_its_own_failure_workflow(service: RunningService) -> None:
    save(service, OF_SERVICE, BREAKS, None)
    done = service.ended(service.submit(OF_SERVICE).json()["executionId"])
    assert (done["status"], done["failureWorkflow"]) == ("failed", None)
    assert started(service) == []


def test_a_failed_child_starts_its_own_failure_workflow(service: RunningService) -> None:
    save(service, OF_WORKFLOW, HANDLES, None)
    save(service, OF_SERVICE, HANDLES, None)
    save(service, "child", naming(OF_WORKFLOW), None)
    calls = node("call", "subworkflow", subworkflowId="child")
    parent = service.run(document(node("start", "trigger"), calls, flow=("start -> call",)))
    assert [run["workflowId"] for run in started(service)] == [OF_WORKFLOW, OF_SERVICE]
    child = service.poll(service.logs(parent["executionId"])["call"]["childExecutionId"])
    payload = service.poll(child["failureWorkflow"]["executionId"])["finalOutput"]
    assert payload["parentExecutionId"] == parent["executionId"]


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (None, "Workflow 'of-workflow' not found"),
        ("{", "not valid JSON"),
        (document(node("receive", "no such type")), "unknown type 'no such type'"),
        (
            {**HANDLES, "nodes": [{**node("receive", "trigger"), "disabled": True}, node("end")]},
            "'receive' is disabled",
        ),
        (document(node("value", "manualInput", inputVarName="x")), "no enabled 'trigger' node"),
    ],
    ids=["missing", "not JSON", "invalid", "disabled", "without a trigger"],
)
def test_a_failure_workflow_that_cannot_run_does_not_prevent_the_failure(
    service: RunningService, graph: object, reason: str
) -> None:
    if graph is not None:
        save(service, OF_WORKFLOW, graph, None)
    failed = service.run(naming(OF_WORKFLOW))
    assert failed["status"] == "failed"
    assert failed["failureWorkflow"]["executionId"] is None
    assert reason in failed["failureWorkflow"]["error"]
    assert started(service) == []


def test_a_failure_workflow_of_another_organization_does_not_start(
    service: RunningService,
) -> None:
    save(service, OF_WORKFLOW, HANDLES, "B")
    save(service, "w", naming(OF_WORKFLOW), "A")
    failed = service.ended(service.submit("w").json()["executionId"])
    error = failed["failureWorkflow"]["error"]
    assert error == "Workflow 'of-workflow' not found"  # as for one that does not exist
    # A workflow without an organization is for the operator to choose, not for organization A.
    save(service, OF_WORKFLOW, HANDLES, None)
    failed = service.ended(service.submit("w").json()["executionId"])
    assert failed["failureWorkflow"]["error"] == error
    assert started(service) == []


@on_both()
def test_a_status_that_another_program_sets_starts_it_too(
    service: RunningService, gates: Gates
) -> None:
    save(service, OF_WORKFLOW, HANDLES, None)
    failed = service.start(naming(OF_WORKFLOW, document(node("work", "gate"))))
    gates.wait_for("work")
    service.write("UPDATE workflow_executions SET status='failed' WHERE id=?", failed)
    (run,) = wait_until(lambda: started(service))
    payload = service.poll(run["id"])["finalOutput"]
    assert (payload["executionId"], payload["node"]) == (failed, None)
    assert "Another program" in payload["error"]


def test_a_full_queue_does_not_lose_it(service: RunningService, gates: Gates) -> None:
    save(service, OF_WORKFLOW, HANDLES, None)
    graph = document(node("work", "gate"), node("bad", "raise"), flow=("work -> bad",))
    failed = service.start(naming(OF_WORKFLOW, graph))
    gates.wait_for("work")
    save(service, "next", document(node("next", "gate")), None)
    waiting = service.submit("next").json()["executionId"]
    assert service.submit("next").status_code == 429
    gates.open("work", "next")
    assert service.ended(failed)["failureWorkflow"]["error"] is None
    assert [run["status"] for run in started(service)] == ["completed"]
    assert service.ended(waiting)["status"] == "completed"


@pytest.mark.parametrize("value", [True, 1.5, ["w"], {"id": "w"}, "a\0b"])
def test_an_invalid_name_of_a_failure_workflow_is_rejected(
    service: RunningService, value: object
) -> None:
    response = service.submit(service.save(naming(value)))
    (problem,) = problem_of(response, 422)["errors"]
    assert problem["code"] == "invalid_failure_workflow"
    assert problem["pointer"] == "/settings/onFailureWorkflowId"
