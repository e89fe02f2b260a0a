"""Unknown and invalid names: body fields, query parameters, settings, messages and ids."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import config
from tests.support.documents import document, line, node
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until

EXECUTE = "/api/workflows/execute"
BODIES: list[tuple[str, str, dict[str, Any], str, str | None]] = [
    ("POST", EXECUTE, {"workflowId": "w", "input": {}}, "input", "inputs"),
    ("POST", EXECUTE, {"workflowId": "w", "Inputs": {}}, "Inputs", "inputs"),
    ("POST", EXECUTE, {"workflowId": "w", "callbackURL": "x"}, "callbackURL", "callbackUrl"),
    ("POST", EXECUTE, {"workflowId": "w", "banana": 1}, "banana", None),
    ("POST", "/api/workflows/validate", {"grahp": {}}, "grahp", "graph"),
    ("POST", "/api/workflows", {"name": "n", "data": {}, "tag": []}, "tag", "tags"),
    ("PUT", "/api/workflows/w", {"name": "n", "data": {}, "datas": {}}, "datas", "data"),
    ("POST", "/api/executions/{}/rerun", {"fromNode": "a"}, "fromNode", "fromNodeId"),
    ("POST", "/api/executions/{}/nodes/a/resume", {"aproved": True}, "aproved", "approved"),
    (
        "POST",
        "/api/nodes/execute",
        {"workflowId": "w", "nodeId": "n", "nodeType": "output", "node": {}, "inputdata": 1},
        "inputdata",
        "inputData",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "unknown", "meant"), BODIES)
def test_an_unknown_body_field_is_rejected_with_the_nearest_name(
    shared_service: RunningService,
    method: str,
    path: str,
    body: dict[str, Any],
    unknown: str,
    meant: str | None,
):
    execution_id = shared_service.run(line(2))["executionId"]
    response = shared_service.http.request(method, path.format(execution_id), json=body)
    problem = problem_of(response)
    errors = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert f"/{unknown}" in errors
    expected = f"did you mean '{meant}'?" if meant else "accepted are: "
    assert expected in errors[f"/{unknown}"]
    assert unknown in problem["detail"]


def test_unknown_fields_are_reported_with_all_other_errors(shared_service: RunningService):
    body = {"workflowId": 5, "input": {}, "inputs": []}
    problem = problem_of(shared_service.http.post(EXECUTE, json=body))
    assert {e["pointer"] for e in problem["errors"]} == {"/workflowId", "/inputs", "/input"}


def test_the_error_for_100_000_unknown_fields_is_short(shared_service: RunningService):
    body = {"workflowId": "w", **{f"k{i}": i for i in range(100_000)}}
    response = shared_service.http.post(EXECUTE, json=body)
    problem = problem_of(response)
    assert len(response.content) < 100_000
    assert "more unknown fields" in problem["detail"]


def test_a_workflow_can_be_sent_back_as_it_was_read(shared_service: RunningService):
    made = shared_service.http.post("/api/workflows", json={"name": "n", "data": {"nodes": []}})
    read = shared_service.http.get(f"/api/workflows/{made.json()['id']}").json()
    for body in (read, made.json()):
        put = shared_service.http.put(f"/api/workflows/{read['id']}", json={**body, "name": "m"})
        assert put.status_code == 200, put.text


@pytest.mark.parametrize(
    ("path", "name", "meant"),
    [
        ("/api/executions", "limt", "limit"),
        ("/api/executions", "LIMIT", "limit"),
        ("/api/executions", "workflow_id", "workflowId"),
        ("/api/executions", "Status", "status"),
        ("/api/executions", "organisationId", "organizationId"),
        ("/api/workflows", "curser", "cursor"),
        ("/api/workflows/w/executions", "limits", "limit"),
        ("/api/executions/{}/logs", "afterseq", "afterSeq"),
        ("/api/executions/{}", "includes", "include"),
        ("/api/executions/{}/stream", "lastEventID", "lastEventId"),
        ("/api/events", "executionIDs", "executionIds"),
    ],
)
def test_a_misspelled_query_parameter_is_rejected_with_the_valid_one(
    shared_service: RunningService, path: str, name: str, meant: str
):
    execution_id = shared_service.run(line(2))["executionId"]
    response = shared_service.http.get(path.format(execution_id), params={name: "3"})
    assert (
        f"unknown query parameter '{name}'; did you mean '{meant}'?"
        in problem_of(response)["detail"]
    )


@pytest.mark.parametrize("name", ["_", "t", "utm_source", "cachebuster", "x" * 5_000, "token", ""])
def test_other_query_parameters_are_ignored(shared_service: RunningService, name: str):
    assert shared_service.http.get("/api/executions", params={name: "1"}).status_code == 200


def test_a_webhook_request_may_have_any_query(shared_service: RunningService):
    shared_service.save(document(node("hook", "webhook")), "hooked")
    response = shared_service.http.post("/api/webhook/hooked?limt=3&tokn=4", json={"a": 1})
    assert response.status_code == 200


def test_misspelled_settings_are_found_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text(
        "DATABSE_PATH=x\nAPI_PORT=1\nSECRET_DATABASE_PATHS=xxxx\nBANANA=1\nmax_request_body_byte=1\n"
    )
    monkeypatch.setattr(config, "ROOT", tmp_path)
    for name in ("LOG_LEVL", "PREFECT_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "PATH", "HOME"):
        monkeypatch.setenv(name, "x")
    assert config.misspelled_settings() == {
        "DATABSE_PATH": "DATABASE_PATH",
        "max_request_body_byte": "MAX_REQUEST_BODY_BYTES",
        "LOG_LEVL": "LOG_LEVEL",
    }


CONTROL = ["a\nb", "a\r\nb", "a\tb", "\x1b[31m", "a\x7fb", "a\x85b", "a\u2028b", "a\0b"]


@pytest.mark.parametrize("bad", CONTROL)
def test_an_id_or_a_name_with_a_control_character_is_rejected(
    shared_service: RunningService, bad: str
):
    bodies: list[tuple[str, dict[str, Any], str]] = [
        (EXECUTE, {"workflowId": bad}, "/workflowId"),
        (EXECUTE, {"workflowId": "w", "organizationId": bad}, "/organizationId"),
        (EXECUTE, {"graph": {}, "workflowName": bad}, "/workflowName"),
        ("/api/workflows", {"id": bad, "name": "n", "data": {}}, "/id"),
        ("/api/workflows", {"name": bad, "data": {}}, "/name"),
        ("/api/workflows", {"name": "n", "data": {}, "tags": [bad]}, "/tags/0"),
        (EXECUTE, {"graph": {"nodes": [{"id": bad, "type": "output"}]}}, "/graph/nodes/0/id"),
    ]
    for path, body, pointer in bodies:
        problem = problem_of(shared_service.http.post(path, json=body))
        assert pointer in [error["pointer"] for error in problem["errors"]], problem


@pytest.mark.parametrize("name", ["a.b", "ü n?#%", "..", "x" * 500])
def test_a_parked_node_with_any_accepted_id_can_be_resumed(
    shared_service: RunningService, name: str
):
    execution_id = shared_service.start(document(node(name, "approval")))
    wait_until(lambda: shared_service.poll(execution_id)["status"] == "waiting")
    encoded = quote(name, safe="").replace(".", "%2E")
    response = shared_service.http.post(
        f"/api/executions/{execution_id}/nodes/{encoded}/resume", json={}
    )
    assert response.status_code == 200, response.text
    assert response.json()["nodeId"] == name
    assert shared_service.ended(execution_id)["status"] == "completed"


@pytest.mark.parametrize("name", ["Create/Update", "a/b/c", "/", "a/resume"])
def test_a_node_id_with_a_slash_is_rejected_at_submission(
    shared_service: RunningService, name: str
):
    shared_service.save(document(node(name, "approval")))
    problem = problem_of(shared_service.submit(), 422)
    (error,) = problem["errors"]
    assert (error["code"], error["pointer"]) == ("invalid_node_id", "/nodes/0/id")
    assert "contains '/'" in error["detail"]


@pytest.mark.parametrize("path", ["", "/executions"])
def test_a_stored_workflow_with_a_slash_in_its_id_runs_but_has_no_path(
    shared_service: RunningService, path: str
):
    shared_service.save(line(2), "a/b")
    response = shared_service.submit("a/b")
    assert shared_service.ended(response.json()["executionId"])["workflowId"] == "a/b"
    problem_of(shared_service.http.get(f"/api/workflows/a%2Fb{path}"), 404)


def test_a_workflow_of_another_program_with_a_line_break_in_its_id_is_read(
    shared_service: RunningService,
):
    shared_service.save(line(2), "a\nb")
    assert shared_service.http.get("/api/workflows/a%0Ab").json()["id"] == "a\nb"
    assert shared_service.http.get("/api/workflows/a%0Ab/executions").json()["total"] == 0
