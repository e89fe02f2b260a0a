"""Pages of tasks: signed links with which a person answers without a key."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.auth.tokens import TaskToken
from database import utc_now
from tests.api.test_human_tasks import answer, asking, task_of
from tests.support.access import ENTRIES, as_
from tests.support.documents import document, node
from tests.support.http_clients import client_of
from tests.support.service import RunningService, wait_until

FORM = {
    "properties": {
        "amount": {"type": "integer", "title": "Amount <b>"},
        "ok": {"type": "boolean"},
        "kind": {"enum": ["new", 2]},
        "rows": {"type": "array"},
    },
    "required": ["amount"],
}


def link(service: RunningService, task: dict[str, Any], **body: Any) -> str:
    response = service.http.post(f"/api/tasks/{task['id']}/links", json=body)
    assert response.status_code == 200, response.text
    return response.json()["url"]


@pytest.fixture
def browser(service: RunningService) -> Iterator[httpx.Client]:
    """Yield a client that sends the origin of the service, as browsers do."""
    with client_of(service.url, headers={"Origin": service.url}) as client:
        yield client


def test_a_person_answers_a_form_by_a_link_once(
    service: RunningService, browser: httpx.Client
) -> None:
    message = "Pay <script>alert(1)</script>?"
    execution_id = service.start(asking(approvalMessage=message, approvalForm=FORM))
    task = task_of(service, execution_id)
    url = link(service, task)
    page = browser.get(url)
    assert (page.status_code, page.headers["content-language"]) == (200, "en")
    assert "<script" not in page.text
    assert "Pay &lt;script&gt;" in page.text
    assert "Amount &lt;b&gt; (required)" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert page.headers["referrer-policy"] == "same-origin"
    assert service.http.get(f"/api/tasks/{task['id']}").json()["answers"] == []

    wrong = browser.post(url, data={"decision": "approve", "field.amount": "many"})
    assert wrong.status_code == 422
    assert 'value="many"' in wrong.text
    assert "data.amount" in wrong.text
    sent = {"field.amount": "7", "field.ok": "on", "field.kind": "2", "field.rows": "[1]"}
    done = browser.post(url, data={"decision": "approve", **sent})
    assert done.status_code == 200
    assert "was recorded" in done.text
    output = service.ended(execution_id)["finalOutput"]
    assert output == {"amount": 7, "ok": True, "kind": 2, "rows": [1]}
    for again in (browser.get(url), browser.post(url, data={"decision": "reject"})):
        assert again.status_code == 409
        assert "already answered" in again.text
        assert "<form" not in again.text


def test_a_link_belongs_to_one_of_several_people(
    service: RunningService, browser: httpx.Client
) -> None:
    graph = asking(approvalAssignees=["Ada", "Bob"], approvalRequired=2)
    execution_id = service.start(graph)
    task = task_of(service, execution_id)
    refused = service.http.post(f"/api/tasks/{task['id']}/links", json={})
    assert refused.json()["errors"][0]["pointer"] == "/assignee"
    ada, bob = (link(service, task, assignee=name) for name in ("Ada", "Bob"))
    spanish = {"Accept-Language": "fr;q=0.9, es-MX;q=0.8, en;q=0.1"}
    assert "Aprobar" in browser.get(ada, headers=spanish).text
    assert browser.post(ada, data={"decision": "approve"}).status_code == 200
    assert "ya tiene respuesta" in browser.post(ada, data={}, headers=spanish).text
    assert browser.post(bob, data={"decision": "approve"}).status_code == 200
    assert service.ended(execution_id)["status"] == "completed"
    answers = service.http.get(f"/api/tasks/{task['id']}").json()["answers"]
    assert [each["assignee"] for each in answers] == ["Ada", "Bob"]


def test_invalid_links_change_nothing(service: RunningService, browser: httpx.Client) -> None:
    execution_id = service.start(asking())
    task = task_of(service, execution_id)
    url = link(service, task)
    tokens = service.app.state.services.authenticator.tokens
    start, token = url.rsplit("/", 1)
    claims = TaskToken(task["id"], "")
    expired = tokens.issue_task(claims, utc_now() - timedelta(seconds=1))
    reading, _ = tokens.issue(task["id"])
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[::-1]}"
    unsigned = f"{head}.{payload}."
    unknown = tokens.issue_task(TaskToken("nothing", ""), utc_now() + timedelta(days=1))
    for bad in (expired, reading, forged, unsigned, unknown, "x"):
        for response in (
            browser.get(f"{start}/{bad}"),
            browser.post(f"{start}/{bad}", data={"decision": "approve"}),
        ):
            assert response.status_code == 404
            assert "not valid" in response.text
    foreign = {"Origin": "https://evil.example"}
    assert browser.post(url, data={"decision": "approve"}, headers=foreign).status_code == 403
    assert "<form" in browser.post(url, data={"decision": "maybe"}).text
    assert answer(service, task).status_code == 200
    assert service.http.post(f"/api/tasks/{task['id']}/links").status_code == 409


def test_a_link_needs_no_key_but_its_creation_does(tmp_path) -> None:
    with RunningService(tmp_path, api_keys=ENTRIES) as service:
        started = service.http.post(
            "/api/workflows/execute",
            json={"graph": document(node("ask", "approval"))},
            headers=as_("run"),
        )
        assert started.status_code == 200
        (task,) = wait_until(
            lambda: service.http.get("/api/tasks", headers=as_("run")).json()["tasks"]
        )
        path = f"/api/tasks/{task['id']}/links"
        assert service.http.post(path, headers=as_("read")).status_code == 403
        url = service.http.post(path, headers=as_("run")).json()["url"]
        assert service.http.get(url).status_code == 200
        done = service.http.post(url, data={"decision": "reject"})
        assert done.status_code == 200
        assert not re.search("<form", done.text)
        seen = service.http.get(f"/api/tasks/{task['id']}", headers=as_("read")).json()
        assert seen["approved"] is False
