"""Bulk operations: one action on many executions, each of them treated once."""

from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from database.check import check_database
from tests.support.access import ENTRIES, caller
from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until

UNPAID = document(node("start", "trigger"), node("pay", "raise"), flow=("start -> pay",))
PAID = document(node("start", "trigger"), node("pay", "output"), flow=("start -> pay",))


def start(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/api/executions/bulk", json=body)


def completed(client: httpx.Client, response: httpx.Response) -> dict[str, Any]:
    """Return a bulk operation after its completion."""
    assert response.status_code == 202, response.text
    path = f"/api/bulk/{response.json()['bulkId']}"
    assert response.headers["location"] == path

    def progress() -> dict[str, Any] | None:
        found = client.get(path).json()
        return found if found["status"] == "completed" else None

    return wait_until(progress)  # type: ignore[return-value]


@on_both()
def test_failed_executions_are_repaired_by_their_fingerprint(service: RunningService) -> None:
    failed = [service.run(UNPAID)["executionId"] for _ in range(3)]
    service.run(document(node("bad", "raise")))
    group = service.http.get("/api/failures").json()["failures"][1]
    assert group["count"] == 3
    service.save(PAID)
    body = {
        "action": "rerun",
        "filter": {"failure": group["fingerprint"]},
        "definition": "current",
    }
    dry = start(service.http, **body, dryRun=True)
    assert dry.json() == {"bulkId": None, "matched": 3, "dryRun": True}
    assert service.rows("SELECT * FROM orchestrator_bulk_operations") == []
    done = completed(service.http, start(service.http, **body))
    assert (done["matched"], done["succeeded"], done["failed"]) == (3, 3, 0)
    assert (done["processed"], done["percentage"]) == (3, 100)
    assert sorted(item["executionId"] for item in done["items"]) == sorted(failed)
    for item in done["items"]:
        again = service.ended(item["newExecutionId"])
        assert (again["status"], again["rerunOf"]) == ("completed", item["executionId"])
    # Those that were run again are not run again by a further call.
    assert start(service.http, **body).json()["matched"] == 0
    repeated = {**body, "filter": {**body["filter"], "includeRerun": True}}
    assert start(service.http, **repeated, dryRun=True).json()["matched"] == 3
    assert check_database(service.settings.url).lines[0].startswith("OK")


def test_items_that_cannot_be_treated_have_a_reason(service: RunningService, gates: Gates) -> None:
    running = service.start(document(node("work", "gate")))
    gates.wait_for("work")
    fine = service.run(UNPAID)["executionId"]
    ids = [running, "unknown", fine, fine]
    done = completed(service.http, start(service.http, action="rerun", ids=ids))
    assert (done["matched"], done["succeeded"], done["failed"]) == (3, 1, 2)
    errors = {item["executionId"]: item["error"] for item in done["items"]}
    assert errors[fine] is None
    assert "not found" in errors["unknown"]
    assert "running" in errors[running]
    path, wanted = f"/api/bulk/{done['bulkId']}", {"itemStatus": "failed", "limit": "1"}
    page = service.http.get(path, params=wanted).json()
    rest = service.http.get(path, params={**wanted, "cursor": page["nextCursor"]}).json()
    found = [item["executionId"] for item in (*page["items"], *rest["items"])]
    assert sorted(found) == sorted(["unknown", running])
    gates.open("work")


@on_both()
def test_executions_are_cancelled_and_deleted(service: RunningService, gates: Gates) -> None:
    running = service.start(document(node("work", "gate")))
    gates.wait_for("work")
    waiting = service.start(document(node("ask", "approval")))
    wait_until(lambda: service.poll(waiting)["status"] == "waiting")
    ended = service.run(UNPAID)["executionId"]
    done = completed(service.http, start(service.http, action="cancel", filter={"workflowId": "w"}))
    assert (done["matched"], done["succeeded"]) == (2, 2)
    assert [service.ended(i)["status"] for i in (running, waiting)] == ["cancelled"] * 2
    body = {"action": "delete", "filter": {"status": ["cancelled", "failed"]}}
    done = completed(service.http, start(service.http, **body))
    assert done["succeeded"] == 3
    for execution_id in (running, waiting, ended):
        assert service.http.get(f"/api/executions/{execution_id}").status_code == 404
    assert check_database(service.settings.url).lines[0].startswith("OK")


def test_the_same_key_returns_the_same_operation(service: RunningService) -> None:
    service.run(UNPAID)
    body = {"action": "rerun", "filter": {"workflowId": "w"}}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        service.http.post("/api/executions/bulk", json=body, headers=headers) for _ in range(2)
    )
    assert first.json() == second.json()
    completed(service.http, first)
    other = {**body, "action": "delete"}
    response = service.http.post("/api/executions/bulk", json=other, headers=headers)
    assert problem_of(response, 422)["errors"][0]["code"] == "idempotency_key_reused"
    assert len(service.rows("SELECT id FROM workflow_executions")) == 2


def test_an_operation_on_more_than_the_maximum_changes_nothing(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.bulk.store.MAX_BULK_ITEMS", 2)
    body = {"action": "delete", "filter": {"workflowId": "w"}}
    for _ in range(2):
        service.run(PAID)
    assert completed(service.http, start(service.http, **body))["succeeded"] == 2
    for _ in range(3):
        service.run(PAID)
    problem = problem_of(start(service.http, **body), 422)
    assert "2 executions" in problem["detail"]
    assert len(service.rows("SELECT id FROM workflow_executions")) == 3
    assert len(service.rows("SELECT id FROM orchestrator_bulk_operations")) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "delete", "filter": {}}, "/filter"),
        ({"action": "delete", "filter": {"status": [], "workflowId": None}}, "/filter"),
        ({"action": "cancel", "filter": {"organizationId": "A"}}, "/filter"),
        ({"action": "rerun"}, "/filter"),
        ({"action": "rerun", "ids": []}, "/ids"),
        ({"action": "rerun", "ids": ["x"], "filter": {"status": ["failed"]}}, "/filter"),
        ({"action": "pause", "ids": ["x"]}, "/action"),
        ({"action": "rerun", "filter": {"state": ["failed"]}}, "/filter/state"),
    ],
)
def test_an_invalid_operation_is_rejected(
    service: RunningService, body: dict[str, object], pointer: str
) -> None:
    problem = problem_of(start(service.http, **body), 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert service.rows("SELECT * FROM orchestrator_bulk_operations") == []


def test_organizations_and_roles_are_respected(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("keys")
    with RunningService(directory, PROBE_TYPES, api_keys=ENTRIES) as service, ExitStack() as opened:
        names = ("a-admin", "a-run", "b-admin", "a-read")
        a, run, b, read = (opened.enter_context(caller(service, name)) for name in names)
        ids: list[str] = []
        for name, client in (("A", a), ("B", b)):
            saved = {"id": name, "name": name, "data": UNPAID}
            assert client.post("/api/workflows", json=saved).status_code == 201
            response = client.post(
                "/api/workflows/execute", json={"workflowId": name}, headers={"Prefer": "wait=60"}
            )
            ids.append(response.json()["executionId"])
        done = completed(run, start(run, action="rerun", ids=ids))
        assert [(item["executionId"], item["status"]) for item in done["items"]] == sorted(
            [(ids[0], "succeeded"), (ids[1], "failed")]
        )
        assert b.get(f"/api/bulk/{done['bulkId']}").status_code == 404
        every = {"action": "delete", "filter": {"status": ["failed"]}}
        assert start(b, **every, dryRun=True).json()["matched"] == 1
        assert start(run, **every).status_code == 403
        assert start(read, action="rerun", ids=ids).status_code == 403
        other = {"status": ["failed"], "organizationId": "B"}
        assert start(a, action="rerun", filter=other).status_code == 403
        assert len(a.get("/api/failures").json()["failures"]) == 1
