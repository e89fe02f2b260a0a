"""Requests that wait: ``Prefer: wait``, ``waitSeq`` and entity tags instead of many polls."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import event

from api.preferences import MAX_WAIT_SECONDS, wait_seconds
from tests.support.access import ENTRIES, SECRET, as_, token_for
from tests.support.documents import document, line, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

GATED = document(
    node("start", "trigger"),
    node("gate", "gate"),
    node("end"),
    flow=("start -> gate", "gate -> end"),
)
WAIT = {"Prefer": "wait=20"}


@contextmanager
def in_background(call: Callable[[], httpx.Response]) -> Iterator[Future[httpx.Response]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def wait_count(service: RunningService) -> int:
    return len(service.app.state.services.broadcaster._waits)


def has_waits(service: RunningService, number: int = 1) -> None:
    wait_until(lambda: wait_count(service) == number)


def execute(service: RunningService) -> httpx.Response:
    body = {"workflowId": "w"}
    return httpx.post(f"{service.url}/api/workflows/execute", json=body, headers=WAIT, timeout=40)


@on_both()
def test_an_execution_that_ends_in_time_is_the_response(service: RunningService) -> None:
    service.save(line(3))
    response = execute(service)
    state = response.json()
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=20"
    assert response.headers["location"] == f"/api/executions/{state['executionId']}"
    assert state["status"] == "completed"
    assert state == service.poll(state["executionId"])


def test_an_execution_that_takes_longer_has_the_usual_response(
    service: RunningService, gates: Gates
) -> None:
    service.save(GATED)
    response = service.http.post(
        "/api/workflows/execute", json={"workflowId": "w"}, headers={"Prefer": "wait=1"}
    )
    assert response.json()["status"] == "pending"
    assert "preference-applied" not in response.headers
    assert response.headers["location"].endswith(response.json()["executionId"])
    gates.open("gate")
    assert service.ended(response.json()["executionId"])["status"] == "completed"


def test_a_failed_execution_is_the_response_too(service: RunningService) -> None:
    service.save(document(node("bad", "raise", message="no ink")))
    state = execute(service).json()
    assert (state["status"], "no ink" in state["error"]) == ("failed", True)


def test_a_rerun_waits_too(service: RunningService) -> None:
    execution_id = service.start(line(3))
    service.ended(execution_id)
    rerun = service.http.post(f"/api/executions/{execution_id}/rerun", headers=WAIT)
    assert rerun.json()["rerunOf"] == execution_id
    assert rerun.json()["status"] == "completed"
    assert rerun.headers["preference-applied"] == "wait=20"


def test_a_repeated_request_waits_for_the_first_execution(service: RunningService) -> None:
    service.save(line(3))
    headers = {**WAIT, "Idempotency-Key": "k"}
    bodies = [
        service.http.post("/api/workflows/execute", json={"workflowId": "w"}, headers=headers)
        for _ in range(2)
    ]
    assert [body.json()["status"] for body in bodies] == ["completed"] * 2
    assert bodies[0].json()["executionId"] == bodies[1].json()["executionId"]


@on_both()
def test_waiting_clients_make_no_queries(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    seq = service.poll(execution_id)["seq"]
    path = f"{service.url}/api/executions/{execution_id}?waitSeq={seq}"
    access = service.app.state.services.database._access
    engine = access.reader._statements
    queries: list[object] = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_connection: object, _cursor: object, sql: str, values: object, *_: object) -> None:
        if execution_id in repr(values) and "workflow_executions.id IN" in sql:
            queries.append(values)

    with ThreadPoolExecutor(20) as pool:
        responses = [pool.submit(httpx.get, path, timeout=40) for _ in range(20)]
        has_waits(service, 20)
        wait_until(lambda: len(queries) == 20)  # each wait reads the state once, at its start
        service.run(line(3))
        assert len(queries) == 20
        assert not any(response.done() for response in responses)
        gates.open("gate")
        assert all(response.result().json()["seq"] > seq for response in responses)


def test_a_wait_ends_with_each_change(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    seq = service.poll(execution_id)["seq"]
    path = f"{service.url}/api/executions/{execution_id}"
    assert httpx.get(path, params={"waitSeq": seq - 1}).json()["seq"] == seq
    with in_background(lambda: httpx.get(path, params={"waitSeq": seq}, timeout=40)) as response:
        has_waits(service)
        assert not response.done()
        gates.open("gate")
        assert response.result().json()["seq"] > seq


def test_an_ended_execution_needs_no_wait(service: RunningService) -> None:
    state = service.run(line(3))
    path = f"/api/executions/{state['executionId']}"
    assert service.http.get(path, params={"waitSeq": state["seq"]}).json() == state
    assert service.http.get(path, params={"waitSeq": 2**31 - 1}).json() == state
    assert wait_count(service) == 0


def test_a_cancellation_ends_a_wait(service: RunningService, gates: Gates) -> None:
    service.save(GATED)
    with in_background(lambda: execute(service)) as response:
        gates.wait_for("gate")
        has_waits(service)
        (listed,) = service.http.get("/api/executions").json()["executions"]
        service.http.post(f"/api/executions/{listed['id']}/cancel")
        assert response.result().json()["status"] == "cancelled"


def test_a_deletion_by_another_program_ends_a_wait(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.journal_tail.SWEEP_INTERVAL_SECONDS", 0.05)
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    path = f"{service.url}/api/executions/{execution_id}?waitSeq=1000"
    with in_background(lambda: httpx.get(path, timeout=40)) as response:
        has_waits(service)
        service.write("DELETE FROM workflow_executions WHERE id=?", execution_id)
        assert response.result().status_code == 404


def test_a_client_that_leaves_ends_its_wait(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    path = f"{service.url}/api/executions/{execution_id}?waitSeq=1000"
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(path, timeout=0.2)
    has_waits(service, 0)


def test_the_shutdown_ends_waits(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> None:
    with ThreadPoolExecutor(1) as pool:
        with RunningService(tmp_path_factory.mktemp("s"), PROBE_TYPES) as service:
            service.save(GATED)
            response = pool.submit(execute, service)
            gates.wait_for("gate")
            has_waits(service)
        assert response.result().status_code == 200
        assert "executionId" in response.result().json()


def test_a_wait_ends_with_its_token(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> None:
    directory = tmp_path_factory.mktemp("s")
    settings = {"api_keys": ENTRIES, "token_secret": SECRET, "token_ttl_seconds": 1}
    with RunningService(directory, PROBE_TYPES, **settings) as service:
        service.save(GATED)
        body = {"workflowId": "w"}
        started = service.http.post(
            "/api/workflows/execute", json=body, headers=as_("admin")
        ).json()
        path = f"/api/executions/{started['executionId']}"
        gates.wait_for("gate")

        def wait_with_a_new_token() -> httpx.Response | None:
            # On a busy machine, the token may expire before the request is authenticated.
            token = token_for(service, started["executionId"])
            headers = {"Authorization": f"Bearer {token}"}
            response = service.http.get(path, params={"waitSeq": 1000}, headers=headers)
            return response if response.status_code == 200 else None

        response = wait_until(wait_with_a_new_token)
        assert response is not None
        assert response.json()["status"] == "running"


# Entity tags


def test_an_unchanged_state_is_a_304(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    path = f"/api/executions/{execution_id}"
    first = service.http.get(path)
    tag = first.headers["etag"]
    again = service.http.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    gates.open("gate")
    service.ended(execution_id)
    later = service.http.get(path, headers={"If-None-Match": tag})
    assert (later.status_code, later.json()["status"]) == (200, "completed")
    assert later.headers["etag"] != tag


def test_the_tag_depends_on_the_included_fields(service: RunningService) -> None:
    path = f"/api/executions/{service.run(line(3))['executionId']}"
    tag = service.http.get(path).headers["etag"]
    with_results = service.http.get(
        path, params={"include": "nodeResults"}, headers={"If-None-Match": tag}
    )
    assert with_results.status_code == 200
    assert "n0" in with_results.json()["nodeResults"]


def test_the_tag_changes_with_the_place_in_the_queue(
    tmp_path_factory: pytest.TempPathFactory, gates: Gates
) -> None:
    directory = tmp_path_factory.mktemp("s")
    with RunningService(directory, PROBE_TYPES, max_concurrent_executions=1) as service:
        service.start(GATED)
        gates.wait_for("gate")
        second, third = service.start(GATED), service.start(GATED)
        first = service.http.get(f"/api/executions/{third}")
        assert first.json()["queuePosition"] == 2
        service.http.post(f"/api/executions/{second}/cancel")
        tag = {"If-None-Match": first.headers["etag"]}
        moved = service.http.get(f"/api/executions/{third}", headers=tag)
        assert moved.json()["queuePosition"] == 1


def test_a_status_of_another_program_changes_the_tag(service: RunningService) -> None:
    execution_id = service.run(line(3))["executionId"]
    path = f"/api/executions/{execution_id}"
    tag = service.http.get(path).headers["etag"]
    service.write("UPDATE workflow_executions SET status='archived' WHERE id=?", execution_id)
    changed = service.http.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "archived")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (None, None),
        ([], None),
        (["wait=10"], 10),
        (["WAIT = 10"], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (["wait=10; strict=1"], 10),
        (["wait=10, wait=20"], 10),
        (['handling="lenient, wait=20", wait=10'], 10),
        (["wait=0"], 0),
        (["wait=0010"], 10),
        (["wait=61"], MAX_WAIT_SECONDS),
        (["wait=" + "9" * 10_000], MAX_WAIT_SECONDS),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["wait=\N{ARABIC-INDIC DIGIT FIVE}"], None),
        (["wait"], None),
        (["waiting=10"], None),
    ],
)
def test_the_preference_is_read_as_the_rfc_says(
    headers: list[str] | None, seconds: int | None
) -> None:
    assert wait_seconds(headers) == seconds


@pytest.mark.parametrize("value", ["-1", "x", "1.5", str(2**31)])
def test_an_invalid_sequence_number_is_rejected(service: RunningService, value: str) -> None:
    execution_id = service.start(line(3))
    response = service.http.get(f"/api/executions/{execution_id}", params={"waitSeq": value})
    assert response.status_code == 422
    assert "waitSeq" in response.json()["detail"]
