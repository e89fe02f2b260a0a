"""Events from outside over HTTP: nodes that wait for them, kept events, keys, and tenants."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.access import ENTRIES, caller
from tests.support.calls import violations
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService, wait_until
from tests.support.two_services import ServicePair


def waiting(**config: Any) -> dict[str, Any]:
    values = {"eventName": "paid", "eventKey": "{{ order }}", **config}
    return document(
        node("start", "trigger"),
        node("paid", "waitForEvent", **values),
        node("end"),
        node("late"),
        flow=("start -> paid", "paid -> end", "paid -error-> late"),
    )


def send(
    service: RunningService, key: str = "7", idempotency: str | None = None, **body: Any
) -> httpx.Response:
    headers = {} if idempotency is None else {"Idempotency-Key": idempotency}
    event = {"name": "paid", "key": key, **body}
    return service.http.post("/api/events", json=event, headers=headers)


def sent(service: RunningService, key: str = "7", **body: Any) -> tuple[str, int]:
    response = send(service, key, **body)
    assert response.status_code == 200, response.text
    return response.json()["status"], response.json()["deliveries"]


def start_waiting(service: RunningService, order: str = "7", **config: Any) -> str:
    execution_id = service.start(waiting(**config), inputs={"order": order})
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    return execution_id


@on_both()
def test_an_event_resumes_the_nodes_that_wait_for_its_name_and_key(service: RunningService) -> None:
    first, second = start_waiting(service), start_waiting(service)
    other = start_waiting(service, "8")
    message = service.logs(first)["paid"]
    assert (message["status"], message["outputData"]) == ("waiting", {"order": "7"})
    assert sent(service, name="shipped") == ("kept", 0)
    event = send(service, payload={"amount": 3}).json()
    assert (event["status"], event["deliveries"]) == ("delivered", 2)
    for execution_id in (first, second):
        assert service.ended(execution_id)["finalOutput"] == {"order": "7", "amount": 3}
    results = service.http.get(f"/api/executions/{first}?include=nodeResults").json()
    assert results["nodeResults"]["paid"]["event"] == {
        "id": event["eventId"],
        "name": "paid",
        "key": "7",
        "receivedAt": event["createdAt"],
    }
    assert service.poll(other)["status"] == "waiting"
    assert sent(service, "8") == ("delivered", 1)
    assert service.ended(other)["finalOutput"] == {"order": "8"}
    assert violations(service) == []


@on_both()
def test_kept_events_go_to_the_next_waits_in_their_order(service: RunningService) -> None:
    for amount in (1, 2):
        assert sent(service, payload={"amount": amount}) == ("kept", 0)
    graph = waiting()
    amounts = [
        service.ended(service.start(graph, inputs={"order": "7"}))["finalOutput"]["amount"]
        for _ in range(2)
    ]
    assert amounts == [1, 2]
    start_waiting(service)  # both events are used up
    assert sent(service) == ("delivered", 1)
    assert violations(service) == []


@on_both()
def test_a_repeated_request_with_a_key_delivers_its_event_once(service: RunningService) -> None:
    execution_id = start_waiting(service)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send(service, idempotency="k"), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["eventId"] for answer in answers}) == 1
    service.ended(execution_id)
    start_waiting(service)
    assert send(service, idempotency="k").json()["deliveries"] == 1  # that of the first node
    wrong = send(service, idempotency="k", payload={"other": 1})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["code"] == "idempotency_key_reused"
    assert sent(service) == ("delivered", 1)


@on_both()
def test_a_wait_ends_by_its_time_limit_by_resume_or_by_a_cancellation(
    service: RunningService,
) -> None:
    failed = service.ended(service.start(waiting(timeoutSeconds=0.2), inputs={"order": "7"}))
    assert failed["status"] == "failed"
    assert "the event 'paid' with the key '7' did not arrive within 0.2 s" in failed["error"]
    branch = service.start(waiting(timeoutSeconds=0.2, onError="branch"), inputs={"order": "7"})
    assert service.ended(branch)["status"] == "completed"
    assert service.logs(branch)["late"]["status"] == "completed"
    resumed = start_waiting(service)
    path = f"/api/executions/{resumed}/nodes/paid/resume"
    assert service.http.post(path, json={"data": {"by": "hand"}}).status_code == 200
    assert service.ended(resumed)["finalOutput"] == {"order": "7", "by": "hand"}
    cancelled = start_waiting(service)
    service.http.post(f"/api/executions/{cancelled}/cancel")
    assert sent(service) == ("kept", 0)  # no wait is left
    assert violations(service) == []


def test_items_of_a_loop_and_called_workflows_wait_for_their_own_keys(
    service: RunningService,
) -> None:
    inner = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}", forEachConcurrency=3),
        node("paid", "waitForEvent", eventName="paid", eventKey="{{ loop.item }}"),
        flow=("start -> each", "each -item-> paid"),
    )
    service.save(inner, "inner")
    outer = document(
        node("start", "trigger"),
        node("call", "subworkflow", subworkflowId="inner"),
        flow=("start -> call",),
    )
    assert sent(service, "b", payload={"n": 2}) == ("kept", 0)
    execution_id = service.start(outer, inputs={"rows": ["a", "b", "c"]})
    waits = "SELECT nodeId FROM orchestrator_event_waits ORDER BY nodeId"
    wait_until(lambda: [row["nodeId"] for row in service.rows(waits)] == ["paid[0]", "paid[2]"])
    for key, number in (("a", 1), ("c", 3)):
        assert sent(service, key, payload={"n": number}) == ("delivered", 1)
    output = service.ended(execution_id)["finalOutput"]["call"]["each"]
    assert [item["n"] for item in output] == [1, 2, 3]


def test_a_rerun_keeps_a_received_event_and_waits_again_after_its_node(
    service: RunningService,
) -> None:
    execution_id = start_waiting(service)
    assert sent(service, payload={"amount": 3}) == ("delivered", 1)
    service.ended(execution_id)
    rerun = f"/api/executions/{execution_id}/rerun"
    after = service.http.post(rerun, json={"fromNodeId": "end"}).json()["executionId"]
    assert service.ended(after)["finalOutput"] == {"order": "7", "amount": 3}
    again = service.http.post(rerun, json={"fromNodeId": "paid"}).json()["executionId"]
    wait_until(lambda: service.poll(again)["status"] == "waiting")
    assert sent(service, payload={"amount": 4}) == ("delivered", 1)
    assert service.ended(again)["finalOutput"] == {"order": "7", "amount": 4}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"key": 7}, "/key"),
        ({"key": "a\0"}, "/key"),
        ({"payload": [1]}, "/payload"),
        ({"payload": {"text": "x" * 70_000}}, "/payload"),
        ({"keys": "7"}, "/keys"),
    ],
)
def test_an_invalid_event_is_refused_and_not_kept(
    service: RunningService, body: dict[str, Any], pointer: str
) -> None:
    response = send(service, **body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert service.rows("SELECT id FROM orchestrator_external_events") == []


def test_the_number_of_kept_events_is_limited(tmp_path: Path) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_kept_events=4) as service:
        for number in range(2):
            assert sent(service, str(number), organizationId="org") == ("kept", 0)
        full = send(service, "2", organizationId="org")
        assert (full.status_code, "organization 'org'" in full.text) == (429, True)
        for number in range(2):
            assert sent(service, str(number)) == ("kept", 0)
        assert send(service, "2").status_code == 429
        execution_id = service.start(waiting(), inputs={"order": "9"})
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
        assert sent(service, "9") == ("delivered", 1)  # it is not kept
        assert "retry-after" in full.headers


def test_an_event_reaches_only_executions_of_its_organization(tmp_path: Path) -> None:
    with (
        RunningService(tmp_path, api_keys=ENTRIES) as service,
        caller(service, "a-run") as a,
        caller(service, "b-admin") as b,
        caller(service, "run") as everywhere,
        caller(service, "a-read") as reader,
    ):
        body = {"graph": waiting(), "organizationId": "A", "inputs": {"order": "7"}}
        execution_id = a.post("/api/workflows/execute", json=body).json()["executionId"]
        path = f"/api/executions/{execution_id}"
        wait_until(lambda: a.get(path).json()["status"] == "waiting")
        event = {"name": "paid", "key": "7"}
        assert b.post("/api/events", json=event).json()["status"] == "kept"
        assert everywhere.post("/api/events", json=event).json()["status"] == "kept"
        assert reader.post("/api/events", json=event).status_code == 403
        other = {**event, "organizationId": "A"}
        assert b.post("/api/events", json=other).status_code == 403
        assert everywhere.post("/api/events", json=other).json()["status"] == "delivered"
        wait_until(lambda: a.get(path).json()["status"] == "completed")


def kept_keys(client: httpx.Client, **query: str) -> list[str]:
    response = client.get("/api/events/kept", params=query)
    assert response.status_code == 200, response.text
    return [event["key"] for event in response.json()["events"]]


@on_both()
def test_each_organization_lists_and_deletes_its_own_kept_events(
    tmp_path: Path, storage: Storage
) -> None:
    with (
        RunningService(tmp_path, api_keys=ENTRIES, **storage) as service,
        caller(service, "a-admin") as a,
        caller(service, "b-admin") as b,
        caller(service, "admin") as everywhere,
        caller(service, "a-run") as runner,
    ):
        for client, key in ((a, "of A"), (b, "of B"), (everywhere, "of none")):
            sent = client.post("/api/events", json={"name": "paid", "key": key}).json()
            assert sent["status"] == "kept"
        assert kept_keys(everywhere) == ["of none", "of B", "of A"]
        assert kept_keys(everywhere, organizationId="B") == kept_keys(b) == ["of B"]
        assert kept_keys(a) == kept_keys(a, organizationId="A") == ["of A"]
        (event,) = a.get("/api/events/kept").json()["events"]
        path = f"/api/events/kept/{event['id']}"
        assert [client.delete(path).status_code for client in (b, runner)] == [404, 403]
        assert a.delete(path).status_code == 204
        assert (a.delete(path).status_code, kept_keys(a)) == (404, [])
        assert kept_keys(everywhere) == ["of none", "of B"]


@on_both()
def test_kept_events_are_listed_in_pages_without_payloads(service: RunningService) -> None:
    receipts = [send(service, str(number), payload={"secret": number}).json() for number in "123"]
    first = service.http.get("/api/events/kept?limit=2").json()
    second = service.http.get(f"/api/events/kept?limit=2&cursor={first['nextCursor']}").json()
    assert second["nextCursor"] is None
    assert [*first["events"], *second["events"]] == [
        {
            "id": receipt["eventId"],
            "organizationId": None,
            "name": "paid",
            "key": key,
            "createdAt": receipt["createdAt"],
            "expiresAt": receipt["expiresAt"],
        }
        for key, receipt in zip("321", reversed(receipts), strict=True)
    ]
    assert send(service, "1").json()["status"] == "kept"
    of_tasks = service.http.get("/api/events/kept?cursor=WyJ0YXNrcyIsMV0")
    assert (of_tasks.status_code, "cursor" in of_tasks.text) == (422, True)
    start_waiting_for = service.start(waiting(), inputs={"order": "2"})
    assert service.ended(start_waiting_for)["finalOutput"] == {"order": "2", "secret": "2"}
    assert kept_keys(service.http) == ["1", "3", "1"]


def test_an_event_of_one_service_resumes_a_node_at_the_other(service_pair: ServicePair) -> None:
    first, second = service_pair
    execution_id = start_waiting(first)
    assert sent(second, payload={"by": 2}) == ("delivered", 1)
    assert second.ended(execution_id)["finalOutput"] == {"order": "7", "by": 2}
    assert sent(first, payload={"by": 1}) == ("kept", 0)
    later = second.start(waiting(), inputs={"order": "7"})
    assert second.ended(later)["finalOutput"] == {"order": "7", "by": 1}
    assert violations(first) == []
