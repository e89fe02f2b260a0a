"""Saved workflows: created, read, updated by version, listed and deleted."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, line, node
from tests.support.main_project import create_main_database
from tests.support.postgres import on_both
from tests.support.probe_nodes import Gates
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService, wait_until

WORKFLOWS = "/api/workflows"
FLOW = {
    "nodes": [
        {"id": "a", "type": "trigger", "position": {"x": 0, "y": 0}, "data": {"label": "A"}},
        {"id": "b", "type": "output", "position": {"x": 1, "y": 0}, "data": {"label": "B"}},
    ],
    "edges": [{"id": "e", "source": "a", "target": "b"}],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}


def create(service: RunningService, **body: object) -> httpx.Response:
    return service.http.post(WORKFLOWS, json={"name": "Mine", "data": line(2), **body})


def put(
    service: RunningService, workflow_id: str, if_match: str | None = None, **body: object
) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    content = {"name": "Mine", "data": line(2), **body}
    return service.http.put(f"{WORKFLOWS}/{workflow_id}", json=content, headers=headers)


@pytest.mark.parametrize("drawn", [line(3), FLOW], ids=["main project", "React Flow"])
def test_a_workflow_is_made_read_and_run_as_it_was_sent(
    service: RunningService, drawn: dict[str, Any]
) -> None:
    made = create(service, data=drawn, tags=["a", "ü"])
    body = made.json()
    assert made.status_code == 201
    assert made.headers["location"] == f"{WORKFLOWS}/{body['id']}"
    assert made.headers["etag"] == f'"{body["updatedAt"]}"'
    assert (body["valid"], body["errors"]) == (True, [])
    read = service.http.get(made.headers["location"])
    assert read.headers["etag"] == made.headers["etag"]
    assert read.json() == {key: body[key] for key in body if key not in ("valid", "errors")}
    assert read.json()["data"] == drawn
    assert (read.json()["tags"], read.json()["organizationId"]) == (["a", "ü"], None)
    execution = service.submit(body["id"]).json()["executionId"]
    assert service.ended(execution)["status"] == "completed"


def test_a_draft_is_saved_and_its_problems_are_returned(service: RunningService) -> None:
    drawn = document(node("a", "nope"), flow=("a -> gone",))
    response = create(service, id="draft", data=drawn)
    assert response.status_code == 201
    assert response.json()["valid"] is False
    told = {(error["code"], error["pointer"]) for error in response.json()["errors"]}
    assert ("dangling_connection", "/data/connections/0") in told
    assert ("unknown_node_type", "/data/nodes/0/type") in told
    assert put(service, "draft", data={}).json()["valid"] is False
    assert put(service, "draft").json()["valid"] is True


UNUSABLE = ["execute", "validate", "a/executions", "/a", "a/", "a/b", "..", ".", "", "a\0b"]
UNUSABLE += ["orchestrator-inline", "orchestrator-inline:org", 5, "x" * 501]


@pytest.mark.parametrize("workflow_id", UNUSABLE)
def test_an_id_that_no_path_can_contain_is_rejected(
    shared_service: RunningService, workflow_id: object
) -> None:
    before = row_counts(shared_service)
    problem = problem_of(create(shared_service, id=workflow_id))
    assert problem["errors"][0]["pointer"] == "/id"
    assert row_counts(shared_service) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"data": []}, "/data"),
        ({"data": "{}"}, "/data"),
        ({"data": None}, "/data"),
        ({"tags": "a"}, "/tags"),
        ({"tags": [1]}, "/tags/0"),
        ({"organizationId": 5}, "/organizationId"),
    ],
)
def test_a_workflow_that_cannot_be_stored_is_rejected_with_a_pointer(
    shared_service: RunningService, body: dict[str, object], pointer: str
) -> None:
    before = row_counts(shared_service)
    assert problem_of(create(shared_service, **body))["errors"][0]["pointer"] == pointer
    assert row_counts(shared_service) == before


@pytest.mark.parametrize("workflow_id", ["a.b", "ü 🎉", "100%", "executions", "a?b#c"])
def test_strange_ids_have_paths(shared_service: RunningService, workflow_id: str) -> None:
    made = create(shared_service, id=workflow_id)
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    assert shared_service.http.get(path).json()["id"] == workflow_id
    assert shared_service.http.get(f"{path}/executions").json()["workflowId"] == workflow_id
    assert shared_service.http.delete(path).status_code == 204
    problem_of(shared_service.http.get(path), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["execute", "validate"])
def test_reserved_names_cannot_be_workflow_ids(
    shared_service: RunningService, method: str, name: str
) -> None:
    body = {"name": "n", "data": {}}
    response = shared_service.http.request(method, f"{WORKFLOWS}/{name}", json=body)
    problem_of(response, 405)
    assert response.headers["allow"] == "POST"


def test_an_id_is_given_once(service: RunningService) -> None:
    assert create(service, id="w").status_code == 201
    assert "'w'" in problem_of(create(service, id="w", name="Other"), 409)["detail"]
    assert service.http.get(f"{WORKFLOWS}/w").json()["name"] == "Mine"


def test_an_unknown_workflow_is_a_404_for_every_method(shared_service: RunningService) -> None:
    for workflow_id in ("nope", "a%00b", "orchestrator-inline"):
        problem_of(shared_service.http.get(f"{WORKFLOWS}/{workflow_id}"), 404)
        problem_of(put(shared_service, workflow_id, "*"), 404)
        problem_of(shared_service.http.delete(f"{WORKFLOWS}/{workflow_id}"), 404)


# Versions


def test_every_change_creates_a_version(service: RunningService) -> None:
    tag = create(service, id="w").headers["etag"]
    tags = [tag]
    for i in range(50):  # many in one millisecond
        response = put(service, "w", tags[-1], name=f"Name {i}")
        assert response.status_code == 200, response.text
        tags.append(response.headers["etag"])
    assert tags == sorted(set(tags))


@on_both()
def test_a_change_of_a_version_that_is_gone_changes_nothing(service: RunningService) -> None:
    old = create(service, id="w").headers["etag"]
    new = put(service, "w", old, name="Two").headers["etag"]
    path = f"{WORKFLOWS}/w"
    for stale in (old, f"W/{new}", new.strip('"'), '"x", "y"', ""):
        assert new in problem_of(put(service, "w", stale, name="Three"), 412)["detail"]
        problem_of(service.http.delete(path, headers={"If-Match": stale}), 412)
    assert service.http.get(path).json()["name"] == "Two"
    assert put(service, "w", f'"x", {new}', name="Three").status_code == 200
    assert put(service, "w", "*", name="Four").status_code == 200
    assert service.http.delete(path, headers={"If-Match": "*"}).status_code == 204


@on_both()
def test_one_of_many_changes_of_one_version_succeeds(service: RunningService) -> None:
    tag = create(service, id="w").headers["etag"]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: put(service, "w", tag, name=f"Name {i}"), range(20)))
    assert sorted(response.status_code for response in answers) == [200] + [412] * 19
    (won,) = (response.json() for response in answers if response.status_code == 200)
    assert service.http.get(f"{WORKFLOWS}/w").json()["name"] == won["name"]


def test_an_unchanged_version_is_a_304(service: RunningService) -> None:
    tag = create(service, id="w").headers["etag"]
    path = f"{WORKFLOWS}/w"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = service.http.get(path, headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert service.http.get(path, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize("stamp", [None, "2026-11-23 09:00:00"])
def test_a_row_without_a_fine_time_has_versions_too(
    service: RunningService, stamp: str | None
) -> None:
    service.save(line(2))
    service.write("UPDATE workflows SET updatedAt=?", stamp)
    tag = service.http.get(f"{WORKFLOWS}/w").headers["etag"]
    service.write("UPDATE workflows SET name='Changed by the main project'")
    problem_of(put(service, "w", tag), 412)
    tag = service.http.get(f"{WORKFLOWS}/w").headers["etag"]
    changed = put(service, "w", tag)
    assert changed.headers["etag"] == f'"{changed.json()["updatedAt"]}"' != tag


def test_timestamps_increase_after_the_clock_is_set_back(service: RunningService) -> None:
    create(service, id="w")
    service.write("UPDATE workflows SET updatedAt='2999-12-31T23:59:59.999Z'")
    assert put(service, "w", name="New").json()["updatedAt"] == "3000-01-01T00:00:00.000Z"


# Columns that an update does not change


def test_columns_of_the_main_project_stay_as_they_are(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite", organizations=True, references=True)
    with RunningService(tmp_path) as service:
        service.write("UPDATE workflows SET isPublic=7, tags='[\"kept\"]' WHERE id='old'")
        read = service.http.get(f"{WORKFLOWS}/old").json()
        assert put(service, "old", **{**read, "name": "New"}).status_code == 200
        assert put(service, "old", name="Newer").json()["tags"] == ["kept"]
        (row,) = service.rows("SELECT * FROM workflows WHERE id='old'")
        assert (row["isPublic"], row["tags"], row["name"]) == (7, '["kept"]', "Newer")
        assert row["organizationId"] == "org-1"
        assert put(service, "old", tags=None).json()["tags"] is None
        for field, value in (("id", "other"), ("organizationId", "org-2")):
            problem = problem_of(put(service, "old", **{field: value}))
            assert problem["errors"][0]["pointer"] == f"/{field}"
        refused = problem_of(create(service, organizationId="org-9"))
        assert refused["errors"][0]["code"] == "unknown_organization"


def test_a_required_column_of_the_main_project_is_reported(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite")
    other = sqlite3.connect(tmp_path / "database.sqlite")
    other.execute("DROP TABLE workflows")
    other.execute(
        "CREATE TABLE workflows(id TEXT PRIMARY KEY, organizationId TEXT, name TEXT NOT NULL,"
        " data TEXT NOT NULL, tags TEXT, createdAt TEXT, updatedAt TEXT, owner TEXT NOT NULL)"
    )
    other.close()
    with RunningService(tmp_path) as service:
        for response in (
            create(service),
            service.http.post(f"{WORKFLOWS}/execute", json={"graph": line(2)}),
        ):
            assert "workflows.owner" in problem_of(response, 503)["detail"]


# Lists


def test_workflows_are_listed_without_their_documents(service: RunningService) -> None:
    service.write("DELETE FROM workflows")
    for i in range(5):
        create(service, id=f"w{i}", organizationId="a" if i % 2 else None, tags=[str(i)])
    service.http.post(f"{WORKFLOWS}/execute", json={"graph": line(2)})
    service.write("INSERT INTO workflows(id, name, data, tags) VALUES ('bare', 'B', '{', 'x,y')")
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = service.http.get(WORKFLOWS, params={"limit": 2, "cursor": cursor}).json()
        found += page["workflows"]
        cursor = page["nextCursor"]
    assert [item["id"] for item in found[-1:]] == ["bare"]
    assert sorted(item["id"] for item in found) == ["bare", *(f"w{i}" for i in range(5))]
    made = [item["createdAt"] for item in found[:-1]]
    assert made == sorted(made, reverse=True)
    assert found[-1]["tags"] == "x,y"
    assert set(found[0]) == {"id", "organizationId", "name", "tags", "createdAt", "updatedAt"}
    of_a = service.http.get(WORKFLOWS, params={"organizationId": "a"}).json()
    assert {item["id"] for item in of_a["workflows"]} == {"w1", "w3"}
    assert of_a["nextCursor"] is None


# Deleting


def test_a_workflow_goes_with_its_history(service: RunningService) -> None:
    create(service, id="w", data=line(3))
    create(service, id="other", data=line(4))
    gone = [service.submit("w").json()["executionId"] for _ in range(3)]
    kept = service.submit("other").json()["executionId"]
    for execution in (*gone, kept):
        service.ended(execution)
    assert service.http.delete(f"{WORKFLOWS}/w").status_code == 204
    for execution in gone:
        problem_of(service.http.get(f"/api/executions/{execution}"), 404)
    assert service.poll(kept)["status"] == "completed"
    counts = row_counts(service)
    assert counts["workflow_executions"] == counts["orchestrator_definitions"] == 1
    assert counts["execution_logs"] == 4


def test_a_workflow_with_running_executions_is_not_deleted(
    service: RunningService, gates: Gates
) -> None:
    create(service, id="w", data=document(node("g", "gate"), node("end"), flow=("g -> end",)))
    execution = service.submit("w").json()["executionId"]
    gates.wait_for("g")
    detail = problem_of(service.http.delete(f"{WORKFLOWS}/w"), 409)["detail"]
    assert detail.startswith("1 execution of workflow 'w' has not finished")
    assert "force=true" in detail
    gates.open("g")
    assert service.ended(execution)["status"] == "completed"
    assert service.http.delete(f"{WORKFLOWS}/w").status_code == 204


@on_both()
def test_with_force_what_runs_is_stopped_and_deleted(service: RunningService, gates: Gates) -> None:
    create(service, id="w", data=document(node("g", "gate")))
    execution = service.submit("w").json()["executionId"]
    gates.wait_for("g")
    assert service.http.delete(f"{WORKFLOWS}/w", params={"force": True}).status_code == 204
    problem_of(service.http.get(f"/api/executions/{execution}"), 404)
    assert wait_until(lambda: gates.left) == ["g"]
    wait_until(lambda: not service.app.state.services.worker._state.active)
    assert service.run(line(2))["status"] == "completed"
