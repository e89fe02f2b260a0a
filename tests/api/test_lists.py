"""Lists of executions over HTTP."""

import base64
import json

import pytest

from tests.support.documents import document, line, node
from tests.support.problems import problem_of
from tests.support.service import RunningService

KEYS = {"id", "workflowId", "workflowName", "organizationId", "status", "triggerType"}
KEYS |= {"createdAt", "startedAt", "completedAt", "error", "rerunOf", "parentExecutionId"}


def test_executions_of_all_workflows_come_in_pages(service: RunningService) -> None:
    service.save(line(2), "a", "First")
    service.save(document(node("n", "http", httpUrl="http://127.0.0.1:1/", retries=0)), "b")
    ids = []
    for i in range(7):
        body = {"organizationId": "org"} if i % 3 == 0 else {}
        ids.append(service.submit("b" if i % 2 else "a", **body).json()["executionId"])
        service.ended(ids[-1])

    def listed(**filters: object) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            params = {"limit": 2, "cursor": cursor, **filters}
            response = service.http.get("/api/executions", params=params)  # type: ignore[arg-type]
            assert response.status_code == 200, response.text
            assert all(set(item) == KEYS for item in response.json()["executions"])
            found += [item["id"] for item in response.json()["executions"]]
            cursor = response.json()["nextCursor"]
        return found

    newest = ids[::-1]
    assert listed() == newest
    assert listed(organizationId="", workflowId="", status="") == newest
    assert listed(workflowId="a") == newest[::2]
    assert listed(status="failed") == newest[1::2]
    assert listed(status="completed,failed") == listed(status=["failed", "completed"]) == newest
    assert listed(status="pending, waiting") == []
    assert listed(organizationId="org") == [ids[6], ids[3], ids[0]]
    assert listed(organizationId="org", workflowId="b", status="failed") == [ids[3]]
    first = service.http.get(f"/api/executions/{ids[0]}").json()["createdAt"]
    assert listed(createdFrom=first) == newest
    assert listed(createdTo=first) == []


def test_the_list_of_a_workflow_continues_after_its_cursor(service: RunningService) -> None:
    service.save(line(2))
    ids = [service.submit().json()["executionId"] for _ in range(3)]
    path = "/api/workflows/w/executions"
    first = service.http.get(path, params={"limit": 2}).json()
    new = service.submit().json()["executionId"]
    second = service.http.get(path, params={"limit": 2, "cursor": first["nextCursor"]}).json()
    assert [item["id"] for item in (*first["executions"], *second["executions"])] == ids[::-1]
    assert (first["total"], second["total"], second["nextCursor"]) == (3, 4, None)
    assert service.http.get(path).json()["executions"][0]["id"] == new


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


BAD = ["x", "%%%", "ü", encoded({}), encoded(5), encoded(["executions"]), encoded([[]])]
BAD += [encoded(["workflows", "2026", "w"]), encoded(["executions", "2026", "1", "e"])]
BAD += [encoded(["executions", "2026", 2**63, "e"]), encoded(["executions", "2026", -1, "e"])]
BAD += [encoded(["executions", "a\0", 1, "e"]), encoded(["executions", "\ud800", 1, "e"])]


@pytest.mark.parametrize("cursor", BAD)
def test_an_invented_cursor_is_rejected(shared_service: RunningService, cursor: str) -> None:
    shared_service.save(line(2))
    for path in ("/api/executions", "/api/workflows/w/executions"):
        problem = problem_of(shared_service.http.get(path, params={"cursor": cursor}))
        assert problem["errors"][0]["code"] == "invalid_cursor"
        assert "cursor" in problem["detail"]


def test_a_cursor_of_another_list_is_rejected(shared_service: RunningService) -> None:
    shared_service.save(line(2))
    for _ in range(2):
        shared_service.submit()
    cursor = shared_service.http.get("/api/executions?limit=1").json()["nextCursor"]
    assert cursor
    problem_of(shared_service.http.get("/api/workflows", params={"cursor": cursor}))


@pytest.mark.parametrize("status", ["done", "completed,done", "Completed"])
def test_an_unknown_status_is_rejected_with_the_known_ones(
    shared_service: RunningService, status: str
) -> None:
    problem = problem_of(shared_service.http.get("/api/executions", params={"status": status}))
    assert "status" in problem["detail"]
    for known in ("pending", "running", "waiting", "completed", "failed", "cancelled"):
        assert f"'{known}'" in problem["detail"]


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00", "2026-01-01", "0", "1790000000", "", "x"])
def test_a_time_without_a_zone_is_rejected(shared_service: RunningService, time: str) -> None:
    for name in ("createdFrom", "createdTo"):
        params = {name: time}
        problem = problem_of(shared_service.http.get("/api/executions", params=params), 422)
        assert name in problem["detail"]


@pytest.mark.parametrize("limit", [0, 1001, -1, "x"])
@pytest.mark.parametrize("path", ["/api/executions", "/api/workflows"])
def test_a_page_has_bounds(shared_service: RunningService, path: str, limit: object) -> None:
    response = shared_service.http.get(path, params={"limit": limit})  # type: ignore[arg-type]
    assert "limit" in problem_of(response)["detail"]


def test_a_filter_that_no_database_can_store_is_rejected(shared_service: RunningService) -> None:
    problem_of(shared_service.http.get("/api/executions", params={"workflowId": "a\0b"}))
