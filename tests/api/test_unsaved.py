"""Unsaved documents: run without a stored workflow."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, line, node
from tests.support.main_project import create_main_database, open_as_main_project
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService

EXECUTE = "/api/workflows/execute"
FLOW = {
    "nodes": [{"id": "a", "type": "http", "data": {"label": "A", "httpMethod": "GET"}}],
    "edges": [{"id": "e", "source": "a", "target": "gone"}],
}


def run(service: RunningService, graph: object, key: str | None = None, **body: object):
    headers = {} if key is None else {"Idempotency-Key": key}
    return service.http.post(EXECUTE, json={"graph": graph, **body}, headers=headers)


def listed(service: RunningService, path: str = "/api/workflows", **filters: str) -> list[Any]:
    response = service.http.get(path, params=filters)
    assert response.status_code == 200, response.text
    return response.json()["workflows" if path == "/api/workflows" else "executions"]


def test_a_document_runs_unsaved(service: RunningService) -> None:
    before = listed(service)
    response = run(service, line(3), inputs={"a": 1}, workflowName="A try")
    body = response.json()
    assert response.status_code == 200
    assert response.headers["location"] == f"/api/executions/{body['executionId']}"
    assert (body["workflowId"], body["workflowName"]) == ("orchestrator-inline", "A try")
    done = service.ended(body["executionId"])
    assert (done["status"], done["finalOutput"]) == ("completed", {"a": 1, "f0": 0})
    assert listed(service) == before
    (execution,) = listed(service, "/api/executions")
    assert execution["workflowName"] == "A try"
    assert execution["workflowId"] == "orchestrator-inline"
    path = "/api/workflows/orchestrator-inline/executions"
    assert service.http.get(path).json()["total"] == 1
    assert row_counts(service)["orchestrator_definitions"] == 1


def test_an_invalid_document_is_rejected_with_pointers_into_the_body(
    service: RunningService,
) -> None:
    before = row_counts(service)
    errors = problem_of(run(service, FLOW))["errors"]
    found = {(error["code"], error["pointer"]) for error in errors}
    assert ("dangling_connection", "/graph/edges/0") in found
    assert ("invalid_config", "/graph/nodes/0/data/httpUrl") in found
    assert problem_of(run(service, {}))["errors"][0]["pointer"] == "/graph"
    refused = problem_of(run(service, line(2), inputs={"start": 1, "x": 2, "end": 3}))
    assert refused["errors"][0]["pointer"].startswith("/inputs/")
    assert row_counts(service) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/workflowId"),
        ({"graph": None, "workflowId": None}, "/workflowId"),
        ({"graph": line(2), "workflowId": "w"}, "/workflowId"),
        ({"graph": [], "workflowId": None}, "/graph"),
        ({"graph": "{}"}, "/graph"),
        ({"graph": line(2), "workflowName": ""}, "/workflowName"),
    ],
)
def test_a_submission_has_either_a_workflow_or_a_document(
    shared_service: RunningService, body: dict[str, object], pointer: str
) -> None:
    problem = problem_of(shared_service.http.post(EXECUTE, json=body))
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    if pointer == "/workflowId":
        assert "workflowId" in problem["detail"]
        assert "'graph'" in problem["detail"]


def test_a_key_is_one_execution_of_one_document(service: RunningService) -> None:
    def post(_: int) -> httpx.Response:
        return run(service, line(3), "k", inputs={"a": 1})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert len({response.json()["executionId"] for response in answers}) == 1
    swapped = dict(reversed(line(3).items()))
    same = run(service, swapped, "k", inputs={"a": 1})
    assert same.json()["executionId"] == answers[0].json()["executionId"]
    for other in (run(service, line(4), "k", inputs={"a": 1}), run(service, line(3), "k")):
        assert problem_of(other)["errors"][0]["code"] == "idempotency_key_reused"
    assert row_counts(service)["workflow_executions"] == 1


def test_an_unsaved_document_can_be_rerun(service: RunningService) -> None:
    first = service.ended(run(service, line(3)).json()["executionId"])
    again = service.http.post(f"/api/executions/{first['executionId']}/rerun", json={})
    assert again.status_code == 200, again.text
    assert again.json()["workflowId"] == "orchestrator-inline"
    assert service.ended(again.json()["executionId"])["status"] == "completed"


def test_each_organization_has_a_row_of_its_own(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite", organizations=True, references=True)
    with RunningService(tmp_path) as service:
        before = row_counts(service)
        refused = problem_of(run(service, line(2), organizationId="org-9"))
        assert refused["errors"][0]["code"] == "unknown_organization"
        assert row_counts(service) == before
        for _ in range(2):
            kept = run(service, line(2)).json()["executionId"]
            response = run(service, line(2), organizationId="org-1").json()
            assert response["workflowId"] == "orchestrator-inline:org-1"
            assert service.ended(response["executionId"])["organizationId"] == "org-1"
            service.ended(kept)
        rows = service.rows("SELECT id, organizationId FROM workflows WHERE id LIKE 'orch%'")
        assert {tuple(row) for row in rows} == {
            ("orchestrator-inline", None),
            ("orchestrator-inline:org-1", "org-1"),
        }
        assert listed(service, organizationId="org-1") == [
            item for item in listed(service) if item["id"] == "old"
        ]
        # The main project deletes the row: its executions are deleted, the others remain.
        other = open_as_main_project(service.path)
        other.execute("DELETE FROM workflows WHERE id='orchestrator-inline:org-1'")
        other.close()
        assert listed(service, "/api/executions", organizationId="org-1") == []
        assert service.poll(kept)["status"] == "completed"
        again = run(service, line(2), organizationId="org-1").json()["executionId"]
        assert service.ended(again)["status"] == "completed"


def test_the_row_itself_has_nothing_to_run(service: RunningService) -> None:
    run(service, line(2))
    problem = problem_of(service.submit("orchestrator-inline"))
    assert problem["errors"][0]["code"] == "no_entry_node"


def test_a_draft_with_an_unknown_type_runs_neither_saved_nor_unsaved(
    service: RunningService,
) -> None:
    assert "nope" in problem_of(run(service, document(node("a", "nope"))))["detail"]
