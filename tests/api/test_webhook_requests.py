"""``request`` in templates: contains headers, query and method of the delivery."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.service import RunningService, wait_until
from tests.support.webhook_calls import post

EVENT = {"X-GitHub-Event": "push", "Authorization": "Bearer s3cret", "X-Tag": "a"}


def showing(template: object, *between: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a webhook, the nodes ``between``, and a node with a template."""
    show = node("show", "addField", addFieldName="shown", addFieldValue=template)
    nodes = [node("hook", "webhook"), *between, show]
    flow = tuple(f"{a['id']} -> {b['id']}" for a, b in pairwise(nodes))
    return document(*nodes, flow=flow)


def shown(service: RunningService, execution_id: str) -> Any:
    done = service.ended(execution_id)
    assert done["status"] == "completed", done["error"]
    return done["finalOutput"]["show"]["shown"]


def deliver(service: RunningService, **more: Any) -> str:
    response = post(service, {"a": 1}, "w?page=2&t=x&t=y", headers=EVENT, **more)
    assert response.status_code == 200, response.text
    return response.json()["executionId"]


@on_both()
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ request.headers['x-github-event'] }}", "push"),
        ("{{ request.headers.x-github-event }}", "push"),
        ("{{ request.headers['X-GitHub-Event'] | upper }}", "PUSH"),
        ("{{ request.headers.authorization }}", "***"),
        ("{{ request.query }}", {"page": "2", "t": ["x", "y"]}),
        ("{{ request.method }} {{ request.query.page }} {{ a }}", "POST 2 1"),
        ("{{ request.headers['x-none'] | default('none') }}", "none"),
    ],
)
def test_a_template_sees_the_request_of_a_delivery(
    service: RunningService, template: str, expected: object
):
    service.save(showing(template))
    assert shown(service, deliver(service)) == expected


def test_the_request_is_not_part_of_the_payload(service: RunningService):
    service.save(showing("{{ request.method }}"))
    execution_id = deliver(service)
    assert service.ended(execution_id)["finalOutput"]["show"] == {"a": 1, "shown": "POST"}
    tables = ("orchestrator_requests", "workflow_executions", "execution_logs")
    stored = [tuple(row) for table in tables for row in service.rows(f"SELECT * FROM {table}")]
    assert "x-github-event" in str(stored)
    assert "s3cret" not in str(stored)


def test_a_field_of_the_input_has_precedence(service: RunningService):
    service.save(showing("{{ request }}"))
    response = post(service, {"request": "mine"}, headers=EVENT)
    assert shown(service, response.json()["executionId"]) == "mine"


def test_a_rerun_has_the_request_too(service: RunningService):
    service.save(showing("{{ request.headers['x-github-event'] }}"))
    first = deliver(service)
    assert shown(service, first) == "push"
    bodies: list[dict[str, Any]] = [{"fromNodeId": "show"}, {"inputs": {"hook": {"b": 2}}}]
    for body in bodies:
        again = service.http.post(f"/api/executions/{first}/rerun", json=body).json()["executionId"]
        assert shown(service, again) == "push"
        twice = service.http.post(f"/api/executions/{again}/rerun", json={"fromNodeId": "show"})
        assert shown(service, twice.json()["executionId"]) == "push"


def test_the_request_survives_a_restart(tmp_path: Path):
    wait = node("wait", "approval")
    with RunningService(tmp_path) as service:
        service.save(showing("{{ request.headers['x-tag'] }}", wait))
        execution_id = deliver(service)
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with RunningService(tmp_path) as service:
        resume = f"/api/executions/{execution_id}/nodes/wait/resume"
        assert service.http.post(resume, json={}).status_code == 200
        assert shown(service, execution_id) == "a"


def test_request_is_undefined_without_a_delivery(service: RunningService):
    done = service.run(showing("{{ request.method }}"))
    assert done["status"] == "failed"
    assert "no webhook request started the execution" in done["error"]


def test_a_header_that_was_not_sent_is_named(service: RunningService):
    service.save(showing("{{ request.headers['x-none'] }}"))
    done = service.ended(deliver(service))
    assert done["status"] == "failed"
    assert "request.headers.x-none" in done["error"]
    assert "x-github-event" in done["error"]


def test_a_form_has_a_request_too(service: RunningService):
    service.save(showing("{{ request.headers['content-type'] }}"))
    response: httpx.Response = service.http.post("/api/webhook/w", data={"a": "1"})
    form = "application/x-www-form-urlencoded"
    assert shown(service, response.json()["executionId"]) == form
