"""Unsupported methods: a 405 that names the supported ones."""

from pathlib import Path

import pytest

from tests.support.access import ENTRIES, as_
from tests.support.documents import document, node
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", "GET"),
        ("PATCH", "/api/workflows", "GET, POST"),
        ("PATCH", "/api/workflows/w", "DELETE, GET, PUT"),
        ("GET", "/api/workflows/execute", "POST"),
        ("PUT", "/api/workflows/w/executions", "GET"),
        ("DELETE", "/api/workflows/w/executions", "GET"),
        ("PATCH", "/api/workflows/w/executions", "GET"),
        ("TRACE", "/api/webhook/w", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ],
)
def test_an_unsupported_method_is_rejected_with_the_supported_ones(
    shared_service: RunningService, method: str, path: str, allowed: str
):
    body = {"name": "w", "data": {}} if method == "PUT" else None
    response = shared_service.http.request(method, path, json=body)
    problem_of(response, 405)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/api/workflows/execute", "/api/workflows/w/executions"])
def test_a_key_of_an_organization_receives_the_405_too(tmp_path: Path, path: str):
    with RunningService(tmp_path, api_keys=ENTRIES) as service:
        response = service.http.put(path, json={"name": "w", "data": {}}, headers=as_("a-admin"))
        problem_of(response, 405)


@pytest.mark.parametrize("approved", [0, 1, "yes", "false", None])
def test_an_approval_accepts_only_booleans(shared_service: RunningService, approved: object):
    execution_id = shared_service.start(document(node("ask", "approval")))
    wait_until(lambda: shared_service.poll(execution_id)["status"] == "waiting")
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    response = shared_service.http.post(path, json={"approved": approved})
    assert "approved" in problem_of(response, 422)["detail"]
    assert shared_service.poll(execution_id)["status"] == "waiting"
