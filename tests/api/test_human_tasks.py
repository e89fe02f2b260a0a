"""Tasks of people over HTTP: lists, answers, forms, assignees, and tenants."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from database import Database, utc_now
from database.executions.human_tasks import Answer
from database.human_tasks.records import TaskFilter
from engine.errors import ConflictError
from engine.node_run_key import NodeRunKey
from flows.execution.journal_writer import JournalWriter
from tests.support.access import ENTRIES, caller
from tests.support.documents import document, node
from tests.support.http_clients import client_of
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior

PEOPLE = ["ada@example.com", "bob@example.com", "cy@example.com"]
FORM = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 1},
        "note": {"type": "string", "pattern": "^[a-z ]+$"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "required": ["amount"],
    "$defs": {"item": {"type": "object", "required": ["a/b"]}},
}


def asking(**config: Any) -> dict[str, Any]:
    return document(
        node("start", "trigger"),
        node("ask", "approval", **config),
        node("yes"),
        node("no"),
        flow=("start -> ask", "ask -true-> yes", "ask -false-> no"),
    )


def tasks(service: RunningService, **filters: Any) -> list[dict[str, Any]]:
    response = service.http.get("/api/tasks", params=filters)
    assert response.status_code == 200, response.text
    return response.json()["tasks"]


def task_of(service: RunningService, execution_id: str) -> dict[str, Any]:
    (task,) = wait_until(lambda: tasks(service, executionId=execution_id, status="open"))
    return task


def answer(service: RunningService, task: dict[str, Any], **body: Any) -> httpx.Response:
    return service.http.post(f"/api/tasks/{task['id']}/complete", json=body)


@on_both()
def test_a_task_is_listed_answered_once_and_ends(service: RunningService) -> None:
    execution_id = service.start(asking(approvalMessage="Pay {{ n }}?"), inputs={"n": 7})
    task = task_of(service, execution_id)
    assert task == {
        "id": task["id"],
        "executionId": execution_id,
        "workflowId": "w",
        "workflowName": "A workflow",
        "organizationId": None,
        "nodeId": "ask",
        "nodeLabel": "ask",
        "status": "open",
        "message": "Pay 7?",
        "hasForm": False,
        "assignees": [],
        "required": 1,
        "approvals": 0,
        "rejections": 0,
        "approved": None,
        "createdAt": task["createdAt"],
        "expiresAt": None,
        "endedAt": None,
        "reminders": 0,
        "remindedAt": None,
        "escalatedAt": None,
        "nextReminderAt": None,
        "escalatesAt": None,
    }
    done = answer(service, task, approved=False, data={"by": "Ada"})
    assert done.status_code == 200
    ended = done.json()
    assert (ended["status"], ended["approved"]) == ("completed", False)
    assert [each["approved"] for each in ended["answers"]] == [False]
    assert answer(service, task).status_code == 409
    assert service.ended(execution_id)["finalOutput"] == {"n": 7, "by": "Ada"}
    assert service.logs(execution_id)["yes"]["status"] == "skipped"
    assert service.http.get(f"/api/tasks/{task['id']}").json() == ended
    assert tasks(service, executionId=execution_id, status="open,expired") == []


@on_both()
def test_a_message_may_contain_what_no_database_can_store(service: RunningService) -> None:
    execution_id = service.start(asking(approvalMessage="Pay {{ n }}?"), inputs={"n": "a\0b"})
    assert task_of(service, execution_id)["message"] == "Pay a\N{REPLACEMENT CHARACTER}b?"
    service.http.post(f"/api/executions/{execution_id}/cancel")


@on_both()
def test_resume_answers_the_task_and_obeys_its_form(service: RunningService) -> None:
    execution_id = service.start(asking(approvalForm=FORM))
    task = task_of(service, execution_id)
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    wrong = service.http.post(path, json={"data": {"amount": "much"}})
    assert wrong.status_code == 422
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["/data/amount"]
    assert service.http.post(path, json={"data": {"amount": 2}}).status_code == 200
    assert service.http.get(f"/api/tasks/{task['id']}").json()["status"] == "completed"
    assert answer(service, task, data={"amount": 2}).status_code == 409
    assert service.ended(execution_id)["finalOutput"] == {"amount": 2}


@pytest.mark.parametrize(
    ("data", "pointers"),
    [
        (None, ["/data/amount"]),
        ({"amount": 0, "note": "NO"}, ["/data/amount", "/data/note"]),
        ({"amount": 1, "items": [{"a/b": 1}, {}]}, ["/data/items/1/a~1b"]),
    ],
)
def test_an_answer_that_does_not_match_the_form_changes_nothing(
    service: RunningService, data: dict[str, Any] | None, pointers: list[str]
) -> None:
    task = task_of(service, service.start(asking(approvalForm=FORM)))
    wrong = answer(service, task, data=data)
    assert wrong.status_code == 422
    assert sorted(error["pointer"] for error in wrong.json()["errors"]) == pointers
    seen = service.http.get(f"/api/tasks/{task['id']}").json()
    assert (seen["status"], seen["answers"], seen["form"]) == ("open", [], FORM)
    # A person who rejects need not fill in the form.
    assert answer(service, task, approved=False).json()["approved"] is False


@pytest.mark.essential
def test_two_of_three_people_must_approve(service: RunningService) -> None:
    graph = asking(approvalAssignees="{{ team }}", approvalRequired=2)
    execution_id = service.start(graph, inputs={"team": PEOPLE})
    task = task_of(service, execution_id)
    assert task["assignees"] == PEOPLE
    assert [each["id"] for each in tasks(service, assignee=PEOPLE[1])] == [task["id"]]
    assert tasks(service, assignee="eve@example.com") == []
    for body, code in (({}, "missing_assignee"), ({"assignee": "eve"}, "unknown_assignee")):
        refused = answer(service, task, **body)
        assert refused.status_code == 422
        (error,) = refused.json()["errors"]
        assert (error["code"], error["pointer"]) == (code, "/assignee")
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    assert service.http.post(path, json={}).status_code == 409
    first = answer(service, task, assignee=PEOPLE[0], data={"a": 1, "b": 1})
    assert (first.json()["status"], first.json()["approvals"]) == ("open", 1)
    assert answer(service, task, assignee=PEOPLE[0]).status_code == 409
    assert answer(service, task, assignee=PEOPLE[1], approved=False).json()["status"] == "open"
    last = answer(service, task, assignee=PEOPLE[2], data={"b": 2})
    assert (last.json()["status"], last.json()["approved"]) == ("completed", True)
    assert service.ended(execution_id)["finalOutput"] == {"team": PEOPLE, "a": 1, "b": 2}
    assert tasks(service, assignee=PEOPLE[1], status="open") == []


def test_a_task_is_rejected_when_too_few_people_are_left(service: RunningService) -> None:
    execution_id = service.start(asking(approvalAssignees=PEOPLE, approvalRequired=2))
    task = task_of(service, execution_id)
    answer(service, task, assignee=PEOPLE[0], approved=False)
    assert answer(service, task, assignee=PEOPLE[1], approved=False).json()["approved"] is False
    service.ended(execution_id)
    assert service.logs(execution_id)["no"]["status"] == "completed"


@on_both()
def test_a_task_ends_with_its_node(service: RunningService) -> None:
    expired = service.start(asking(timeoutSeconds=0.2, approvalAssignees=PEOPLE))
    service.ended(expired)
    cancelled = service.start(asking())
    task = task_of(service, cancelled)
    service.http.post(f"/api/executions/{cancelled}/cancel")
    service.ended(cancelled)
    for execution_id, status in ((expired, "expired"), (cancelled, "cancelled")):
        (ended,) = tasks(service, executionId=execution_id)
        assert (ended["status"], ended["endedAt"] is None) == (status, False)
    assert answer(service, task).status_code == 409
    assert [each["status"] for each in tasks(service, assignee=PEOPLE[0])] == ["expired"]


def test_each_item_of_a_loop_and_a_called_workflow_has_its_task(service: RunningService) -> None:
    graph = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}", forEachConcurrency=2),
        node("ask", "humanApproval", approvalMessage="Send {{ loop.item }}?"),
        node("end"),
        flow=("start -> each", "each -item-> ask", "ask -true-> end"),
    )
    service.save(graph, "inner")
    outer = document(
        node("start", "trigger"),
        node("call", "subworkflow", subworkflowId="inner"),
        flow=("start -> call",),
    )
    execution_id = service.start(outer, inputs={"rows": ["x", "y"]})

    def by_item() -> dict[str, dict[str, Any]]:
        return {task["nodeId"]: task for task in tasks(service) if "[" in task["nodeId"]}

    wait_until(lambda: len(by_item()) == 2)
    by_node = by_item()
    assert {key: task["message"] for key, task in by_node.items()} == {
        "ask[0]": "Send x?",
        "ask[1]": "Send y?",
    }
    assert answer(service, by_node["ask[1]"], data={"late": True}).status_code == 200
    assert answer(service, by_node["ask[0]"]).status_code == 200
    assert service.ended(execution_id)["status"] == "completed"


def test_pages_of_tasks_follow_one_another(service: RunningService) -> None:
    service.save(asking(approvalAssignees=["Pat"]))
    started = [service.submit().json()["executionId"] for _ in range(5)]
    wait_until(lambda: len(tasks(service, assignee="Pat", status="open")) == 5)
    for filters in ({}, {"status": "open"}, {"assignee": "Pat"}, {"assignee": "Pat,"}):
        seen: list[str] = []
        cursor = None
        while True:
            page = service.http.get(
                "/api/tasks", params={**filters, "limit": 2, "cursor": cursor or ""}
            ).json()
            assert len(page["tasks"]) <= 2
            seen += [task["executionId"] for task in page["tasks"]]
            if (cursor := page["nextCursor"]) is None:
                break
        assert len(seen) == len(set(seen))
        assert set(seen) >= (set() if filters == {"assignee": "Pat,"} else set(started))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"approvalForm": {"type": "array"}}, "should describe an object"),
        ({"approvalForm": {"properties": 1}}, "is not a valid JSON Schema"),
        ({"approvalForm": {"properties": {"a": {"$ref": "http://x/y"}}}}, "should start with"),
        ({"approvalForm": {"$ref": "#"}}, "circle of references"),
        ({"approvalForm": {"properties": {"a": {"pattern": "(?=a)b"}}}}, "look-around"),
        ({"approvalForm": {"patternProperties": {"a": {}}}}, "patternProperties"),
        ({"approvalForm": "no schema"}, "approvalForm"),
        ({"approvalRequired": 2}, "approvalAssignees has 0 names"),
        ({"approvalRequired": 3, "approvalAssignees": "a, b, b"}, "has 2 names"),
        ({"approvalRequired": 0}, "approvalRequired"),
        ({"approvalEscalationSeconds": 9}, "is required for approvalEscalationSeconds"),
        ({"approvalEscalationAssignees": "Eve"}, "approvalAssignees has none"),
        ({"approvalReminderSeconds": 0}, "approvalReminderSeconds"),
        ({"approvalAssignees": ["x" * 251]}, "more than 250 characters"),
    ],
)
def test_an_invalid_task_is_rejected_at_submission(
    service: RunningService, config: dict[str, Any], reason: str
) -> None:
    service.save(asking(**config))
    refused = service.submit()
    assert refused.status_code == 422
    assert reason in refused.json()["detail"]
    assert "'ask'" in refused.json()["detail"]


def test_a_task_with_too_few_people_after_its_templates_fails(service: RunningService) -> None:
    graph = asking(approvalAssignees="{{ team }}", approvalRequired=2)
    done = service.run(graph, inputs={"team": "only one"})
    assert done["status"] == "failed"
    assert "needs 2 approvals but has 1 assignees" in done["error"]


def test_a_node_that_hides_its_data_hides_the_message_of_its_task(
    service: RunningService,
) -> None:
    graph = asking(approvalMessage="PIN {{ pin }}?", hideData=True)
    task = task_of(service, service.start(graph, inputs={"pin": 1234}))
    assert task["message"] is None


def test_tasks_of_another_organization_do_not_exist(tmp_path: Path) -> None:
    with (
        RunningService(tmp_path, api_keys=ENTRIES) as service,
        caller(service, "a-run") as a,
        caller(service, "b-admin") as b,
        caller(service, "a-read") as reader,
    ):
        body = {"graph": asking(), "organizationId": "A"}
        started = a.post("/api/workflows/execute", json=body)
        assert started.status_code == 200, started.text
        (task,) = wait_until(lambda: a.get("/api/tasks").json()["tasks"])
        path = f"/api/tasks/{task['id']}"
        assert b.get("/api/tasks").json()["tasks"] == []
        assert b.get(path).status_code == b.post(f"{path}/complete").status_code == 404
        assert b.get("/api/tasks?organizationId=A").status_code == 403
        assert reader.get(path).status_code == 200
        assert reader.post(f"{path}/complete").status_code == 403
        assert a.post(f"{path}/complete").status_code == 200


@on_both()
def test_of_fifty_answers_to_two_services_one_wins(tmp_path: Path, storage: Storage) -> None:
    with (
        RunningService(tmp_path, PROBE_TYPES, **storage) as first,
        RunningService(tmp_path, PROBE_TYPES, **storage) as second,
    ):
        execution_id = first.start(asking())
        task = task_of(first, execution_id)

        def post(number: int) -> int:
            url = (first, second)[number % 2].url
            with client_of(url) as client:
                return client.post(
                    f"/api/tasks/{task['id']}/complete", json={"data": {"by": number}}
                ).status_code

        with ThreadPoolExecutor(50) as pool:
            statuses = sorted(pool.map(post, range(50)))
        assert statuses == [200, *[409] * 49]
        (seen,) = first.http.get(f"/api/tasks/{task['id']}").json()["answers"]
        assert seen["approved"] is True
        assert isinstance(first.ended(execution_id)["finalOutput"]["by"], int)


@on_both()
@pytest.mark.parametrize("answers_first", [True, False])
def test_an_answer_at_the_time_limit_decides_or_returns_409(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, answers_first: bool
) -> None:
    """The answer reaches a service whose clock is behind, while the node times out."""
    outcome: list[bool] = []

    async def complete() -> None:
        database = Database(service.database_url, clock=lambda: utc_now() - timedelta(hours=1))
        try:
            (task,) = (await database.human_tasks.page(TaskFilter(), 1)).items
            await database.human_tasks.complete(task.id, Answer(approved=True))
            outcome.append(True)
        except ConflictError:
            outcome.append(False)
        finally:
            await database.close()

    original = JournalWriter.expire

    async def expire(self: JournalWriter, keys: Sequence[NodeRunKey]) -> Any:
        if answers_first:
            await asyncio.to_thread(asyncio.run, complete())
        found = await original(self, keys)
        if not answers_first:
            await asyncio.to_thread(asyncio.run, complete())
        return found

    monkeypatch.setattr(JournalWriter, "expire", expire)
    execution_id = service.start(asking(timeoutSeconds=0.2))
    ended = service.ended(execution_id)
    assert outcome == [answers_first]
    assert ended["status"] == ("completed" if answers_first else "failed")
    (task,) = tasks(service, executionId=execution_id)
    assert task["status"] == ("completed" if answers_first else "expired")
