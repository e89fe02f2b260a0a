"""Schedules over HTTP: detection, executions, pauses, backfills and tenants."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.access import ENTRIES, caller
from tests.support.documents import document, node
from tests.support.main_project import create_main_database, open_as_main_project
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.problems import problem_of
from tests.support.schedules import scheduled
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior

YEARLY = {"scheduleCron": "0 0 1 1 *", "scheduleTimezone": "Europe/Berlin"}
SECONDLY = {"scheduleEverySeconds": 1}


def listed(service: RunningService, **filters: Any) -> list[dict[str, Any]]:
    response = service.http.get("/api/schedules", params=filters)
    assert response.status_code == 200, response.text
    return response.json()["schedules"]


def found(service: RunningService, workflow_id: str) -> dict[str, Any]:
    """Return the schedule of a workflow after the service has found it."""
    (schedule,) = wait_until(lambda: listed(service, workflowId=workflow_id))
    return schedule


def executions(service: RunningService, workflow_id: str = "w") -> list[dict[str, Any]]:
    path = f"/api/workflows/{workflow_id}/executions"
    return service.http.get(path).json()["executions"]


@pytest.mark.essential
def test_a_saved_schedule_starts_executions_with_the_time(service: RunningService) -> None:
    service.save(scheduled(**SECONDLY, scheduleTimezone="Asia/Tokyo"))
    wait_until(lambda: len(executions(service)) >= 2)
    execution = service.ended(executions(service)[-1]["id"])
    assert execution["status"] == "completed"
    output = execution["finalOutput"]
    at = datetime.fromisoformat(output["scheduledAt"])
    assert output["localTime"].endswith("+09:00")
    assert datetime.fromisoformat(output["localTime"]) == at
    assert output["timezone"] == "Asia/Tokyo"
    schedule = found(service, "w")
    assert output["scheduleId"] == schedule["id"]
    items = service.http.get("/api/executions", params={"workflowId": "w"}).json()["executions"]
    assert {item["triggerType"] for item in items} == {"schedule"}


def test_a_workflow_that_the_main_project_writes_is_found(tmp_path) -> None:
    path = tmp_path / "database.sqlite"
    create_main_database(path)
    with RunningService(tmp_path, database_path=path) as service:
        main = open_as_main_project(path)
        insert = "INSERT INTO workflows(id, name, data, updatedAt) VALUES ('mine', 'Mine', ?, ?)"
        main.execute(insert, (json.dumps(scheduled(**YEARLY)), "2026-01-01 00:00:00"))
        schedule = found(service, "mine")
        assert (schedule["cron"], schedule["timezone"]) == ("0 0 1 1 *", "Europe/Berlin")
        # Neither the size nor ``updatedAt`` changes.
        changed = json.dumps(scheduled(**{**YEARLY, "scheduleCron": "0 0 2 1 *"}))
        main.execute("UPDATE workflows SET data = ? WHERE id = 'mine'", (changed,))
        wait_until(lambda: found(service, "mine")["cron"] == "0 0 2 1 *")
        main.execute("DELETE FROM workflows WHERE id = 'mine'")
        wait_until(lambda: listed(service) == [])
        main.close()


@on_both()
def test_an_invalid_schedule_does_not_prevent_the_others(service: RunningService) -> None:
    # The error contains the character NUL, which PostgreSQL accepts in no text.
    service.save(scheduled(**{**YEARLY, "scheduleTimezone": "a\0b"}), "invalid")
    service.save(scheduled(**YEARLY), "valid")
    assert found(service, "valid")["status"] == "active"
    invalid = found(service, "invalid")
    assert invalid["status"] == "invalid"
    assert invalid["error"].endswith("not 'a\N{REPLACEMENT CHARACTER}b'")


@on_both()
def test_a_schedule_has_its_settings_and_next_instants(service: RunningService) -> None:
    config = {**YEARLY, "scheduleOverlap": "queue", "scheduleJitterSeconds": 5}
    service.save(scheduled(**config))
    schedule = found(service, "w")
    year = datetime.now(UTC).year
    assert schedule == {
        "id": schedule["id"],
        "workflowId": "w",
        "workflowName": "A workflow",
        "organizationId": None,
        "nodeId": "clock",
        "status": "active",
        "cron": "0 0 1 1 *",
        "everySeconds": None,
        "timezone": "Europe/Berlin",
        "jitterSeconds": 5,
        "overlap": "queue",
        "misfire": "once",
        "error": None,
        "nextAt": f"{year}-12-31T23:00:00.000Z",
        "pausedAt": None,
        "lastInstant": None,
        "lastExecutionId": None,
        "lastSkippedInstant": None,
        "lastSkipReason": None,
    }
    path = f"/api/schedules/{schedule['id']}"
    detail = service.http.get(path, params={"next": 3}).json()
    assert detail == {
        **schedule,
        "next": [f"{year + n}-12-31T23:00:00.000Z" for n in range(3)],
    }
    assert len(service.http.get(path).json()["next"]) == 10


def test_an_invalid_schedule_is_listed_with_its_error(service: RunningService) -> None:
    service.save(scheduled(scheduleEverySeconds=60, scheduleTimezone="Mars/Base"))
    schedule = found(service, "w")
    assert (schedule["status"], schedule["nextAt"]) == ("invalid", None)
    assert "Mars/Base" in schedule["error"]
    path = f"/api/schedules/{schedule['id']}"
    assert service.http.get(path).json()["next"] == []
    assert service.http.post(f"{path}/pause").json()["status"] == "invalid"
    assert service.http.post(f"{path}/resume").status_code == 200
    body = {"from": "2025-01-01T00:00:00Z"}
    problem = problem_of(service.http.post(f"{path}/backfill", json=body), 409)
    assert "Mars/Base" in problem["detail"]


@on_both()
def test_a_paused_schedule_starts_nothing_until_it_is_resumed(service: RunningService) -> None:
    service.save(scheduled(**SECONDLY))
    schedule = found(service, "w")
    path = f"/api/schedules/{schedule['id']}"
    paused = service.http.post(f"{path}/pause").json()
    assert (paused["status"], paused["nextAt"]) == ("paused", None)
    assert service.http.post(f"{path}/pause").json()["pausedAt"] == paused["pausedAt"]
    before = {execution["id"] for execution in executions(service)}
    service.save(document(node("t", "schedule", **SECONDLY), node("end"), flow=("t -> end",)), "v")
    wait_until(lambda: len(executions(service, "v")) >= 2)  # another one continues
    assert {execution["id"] for execution in executions(service)} == before
    assert service.http.post(f"{path}/resume").json()["status"] == "active"
    wait_until(lambda: len(executions(service)) > len(before))


@on_both()
def test_a_backfill_starts_each_instant_once(service: RunningService) -> None:
    service.save(scheduled(scheduleCron="0 12 * * *"))
    path = f"/api/schedules/{found(service, 'w')['id']}"
    body = {"from": "2025-03-01T00:00:00Z", "to": "2025-03-31T00:00:00Z"}
    response = service.http.post(f"{path}/backfill", json=body)
    assert response.status_code == 200, response.text
    first = response.json()
    assert first["matched"] == len(first["executions"]) == 30
    assert first["executions"][0]["instant"] == "2025-03-01T12:00:00.000Z"
    longer = {**body, "to": "2025-04-02T00:00:00Z"}
    second = service.http.post(f"{path}/backfill", json=longer).json()
    assert second["matched"] == 32
    assert [one["instant"][:10] for one in second["executions"]] == ["2025-03-31", "2025-04-01"]
    last = service.ended(second["executions"][-1]["executionId"])
    assert last["finalOutput"]["scheduledAt"] == "2025-04-01T12:00:00.000Z"


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"from": "2025-03-02T00:00:00Z", "to": "2025-03-01T00:00:00Z"}, "/to", "after 'from'"),
        ({"from": "2025-03-02T00:00:00Z"}, "/to", "more than 500 instants"),
        ({"from": "1969-01-01T00:00:00Z"}, "/from", "before 1970"),
        (
            {"from": "2025-03-02T00:00:00Z", "to": (NOW + timedelta(days=1)).isoformat()},
            "/to",
            "not be after now",
        ),
        ({"from": "2025-03-02T00:00:00"}, "/from", "timezone"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "/from", "too far from now"),
        ({}, "/from", "Field required"),
        ({"form": "2025-03-02T00:00:00Z"}, "/form", "did you mean 'from'"),
    ],
)
def test_an_invalid_backfill_starts_nothing(
    service: RunningService, body: dict[str, str], pointer: str, detail: str
) -> None:
    service.save(scheduled(scheduleCron="0 * * * *"))
    path = f"/api/schedules/{found(service, 'w')['id']}/backfill"
    problem = problem_of(service.http.post(path, json=body), 422)
    assert pointer in {error["pointer"] for error in problem["errors"]}
    assert detail in problem["detail"]
    assert executions(service) == []


def test_a_full_queue_rejects_a_backfill(tmp_path) -> None:
    with RunningService(tmp_path, max_pending_executions=20, max_concurrent_executions=1) as own:
        blocked = document(
            node("clock", "schedule", scheduleCron="0 0 * * *"),
            node("wait", "wait", waitSeconds=0.5),
            flow=("clock -> wait",),
        )
        own.save(blocked)
        path = f"/api/schedules/{found(own, 'w')['id']}/backfill"
        body = {"from": "2025-03-01T00:00:00Z", "to": "2025-03-31T00:00:00Z"}
        assert own.http.post(path, json=body).status_code == 429


def test_an_unknown_schedule_is_not_found(service: RunningService) -> None:
    for method, path in (
        ("GET", "nope"),
        ("POST", "nope/pause"),
        ("POST", "nope/resume"),
        ("GET", "a%00b"),
    ):
        problem_of(service.http.request(method, f"/api/schedules/{path}"), 404)
    body = {"from": "2025-03-01T00:00:00Z"}
    problem_of(service.http.post("/api/schedules/nope/backfill", json=body), 404)


def test_a_manual_execution_fires_the_schedule_only_without_a_trigger(
    service: RunningService,
) -> None:
    alone = service.run(scheduled(**YEARLY))
    assert set(alone["finalOutput"]) == {"scheduledAt"}
    both = document(
        node("t", "trigger"),
        node("clock", "schedule", **YEARLY),
        node("end"),
        flow=("t -> end", "clock -> end"),
    )
    assert service.run(both)["finalOutput"] == {}
    named = service.run(both, inputs={"clock": {"scheduledAt": "then"}})
    assert named["finalOutput"] == {"scheduledAt": "then"}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("tenants")
    with RunningService(directory, PROBE_TYPES, api_keys=ENTRIES) as service:
        yield service


def test_a_tenant_sees_only_its_own_schedules(tenants: RunningService) -> None:
    a, b = caller(tenants, "a-admin"), caller(tenants, "b-admin")
    body = {"id": "of-a", "name": "A", "data": scheduled(**YEARLY)}
    assert a.post("/api/workflows", json=body).status_code == 201
    (schedule,) = wait_until(lambda: a.get("/api/schedules").json()["schedules"])
    assert b.get("/api/schedules").json()["schedules"] == []
    path = f"/api/schedules/{schedule['id']}"
    assert a.get(path).status_code == 200
    unknown = problem_of(b.get("/api/schedules/nope"), 404)["detail"]
    for method, suffix in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        problem = problem_of(b.request(method, path + suffix), 404)
        assert problem["detail"] == unknown.replace("nope", schedule["id"])
    since = {"from": "2025-03-01T00:00:00Z"}
    problem_of(b.post(f"{path}/backfill", json=since), 404)
    assert a.get(path).json()["status"] == "active"
    a.close()
    b.close()


def test_a_reader_cannot_pause_a_schedule(tenants: RunningService) -> None:
    reader = caller(tenants, "a-read")
    assert reader.get("/api/schedules").status_code == 200
    assert reader.post("/api/schedules/any/pause").status_code == 403
    reader.close()
