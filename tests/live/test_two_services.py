"""Two services on one database: they share the work, and each request may reach either of them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.calls import call, child_of
from tests.support.counting_server import CallCounter
from tests.support.documents import document, node
from tests.support.probe_nodes import Gates
from tests.support.service import wait_until
from tests.support.stream_clients import receive, seqs, sse, subscribe, websocket
from tests.support.two_services import PairedService, ServicePair, at_once

GATED = document(node("gate", "gate"), node("end"), flow=("gate -> end",))
ASKS = document(node("ask", "approval"), node("after", "gate"), flow=("ask -true-> after",))
ASKS_WHILE_RUNNING = document(
    node("start", "trigger"),
    node("ask", "approval"),
    node("gate", "gate"),
    node("after"),
    flow=("start -> ask", "start -> gate", "ask -true-> after"),
)


def approve(service: PairedService, execution_id: str) -> None:
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    response = service.http.post(path, json={"approved": True})
    assert response.status_code == 200, response.text


def owner(service: PairedService, execution_id: str) -> str | None:
    sql = "SELECT owner FROM orchestrator_runs WHERE executionId = ?"
    return service.rows(sql, execution_id)[0][0]


def waits(service: PairedService, execution_id: str) -> None:
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")


def test_the_service_that_gets_an_approval_continues_the_execution(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    execution_id = first.start(ASKS)
    waits(first, execution_id)
    approve(second, execution_id)
    gates.wait_for("after")
    first.pass_interval()
    first.run_marker()
    assert second.is_running_execution(execution_id)
    gates.open("after")
    assert first.ended(execution_id)["status"] == "completed"
    assert gates.runs == ["after"]


def test_an_approval_at_the_other_service_reaches_the_running_execution(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    execution_id = first.start(ASKS_WHILE_RUNNING)
    gates.wait_for("gate")
    wait_until(lambda: first.logs(execution_id).get("ask", {}).get("status") == "waiting")
    approve(second, execution_id)
    second.run_marker()  # it would claim the older execution first
    assert first.is_running_execution(execution_id)
    first.pass_interval()
    wait_until(lambda: first.logs(execution_id).get("after", {}).get("status") == "completed")
    gates.open("gate")
    assert second.ended(execution_id)["status"] == "completed"
    assert gates.runs == ["gate"]


def test_a_cancellation_at_the_other_service_stops_the_execution(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    execution_id = first.start(GATED)
    gates.wait_for("gate")
    assert second.http.post(f"/api/executions/{execution_id}/cancel").status_code == 200
    second.run_marker()
    assert first.is_running_execution(execution_id)
    first.pass_interval()
    assert second.ended(execution_id)["status"] == "cancelled"
    assert (gates.runs, gates.left) == (["gate"], ["gate"])


def test_a_child_at_the_other_service_ends_while_its_parent_runs(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    first.save(document(node("receive", "trigger"), node("inner", "gate")), "child")
    parent = document(
        node("start", "trigger"),
        call(),
        node("gate", "gate"),
        node("end"),
        flow=("start -> call", "start -> gate", "call -> end"),
    )
    parent_id = first.start(parent)
    gates.wait_for("gate")
    child_id = child_of(first, parent_id)
    second.pass_interval()
    gates.wait_for("inner")
    assert second.is_running_execution(child_id)
    gates.open("inner")
    assert first.ended(child_id)["status"] == "completed"
    second.run_marker()  # it would claim the older parent first
    assert first.is_running_execution(parent_id)
    first.pass_interval()
    wait_until(lambda: first.logs(parent_id).get("end", {}).get("status") == "completed")
    gates.open("gate")
    assert second.ended(parent_id)["status"] == "completed"
    assert Counter(gates.runs) == {"gate": 1, "inner": 1}


def test_an_expired_lease_is_taken_over_and_its_former_owner_writes_nothing(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    execution_id = first.start(GATED)
    gates.wait_for("gate")
    former = owner(first, execution_id)
    expire = "UPDATE orchestrator_runs SET claimableAt = ? WHERE executionId = ? AND owner = ?"

    def is_taken_over() -> bool:  # again, because a heartbeat may renew the lease
        second.write(expire, "2026-01-01T00:00:00.000Z", execution_id, former)
        second.pass_interval()
        return second.is_running_execution(execution_id)

    wait_until(is_taken_over)
    wait_until(lambda: gates.runs == ["gate", "gate"])
    gates.open("gate")
    assert second.ended(execution_id)["status"] == "completed"
    wait_until(lambda: not first.is_running_execution(execution_id))
    first.run_marker()  # it still runs other executions
    assert second.logs(execution_id)["gate"]["attempt"] == 2
    sql = "SELECT nodeStatus FROM orchestrator_events WHERE executionId = ? AND nodeId = 'gate'"
    recorded = [row[0] for row in second.rows(f"{sql} ORDER BY seq", execution_id)]
    assert recorded == ["running", "cancelled", "running", "completed"]


def test_a_timer_starts_its_node_in_one_service(service_pair: ServicePair, gates: Gates) -> None:
    first, second = service_pair
    timed = document(
        node("wait", "wait", waitSeconds=0.3), node("after", "gate"), flow=("wait -> after",)
    )
    execution_id = first.start(timed)
    waits(first, execution_id)
    wait_until(lambda: is_due(first, execution_id))
    at_once(first.pass_interval, second.pass_interval)
    gates.wait_for("after")
    at_once(first.pass_interval, second.pass_interval)
    gates.open("after")
    assert second.ended(execution_id)["status"] == "completed"
    first.run_marker()
    second.run_marker()
    assert gates.runs == ["after"]


def is_due(service: PairedService, execution_id: str) -> bool:
    sql = "SELECT claimableAt FROM orchestrator_runs WHERE executionId = ?"
    clock = service.app.state.services.database.clock
    return service.rows(sql, execution_id)[0][0] <= clock().isoformat()[:23]


def test_a_callback_is_sent_once_while_both_services_poll(service_pair: ServicePair) -> None:
    first, second = service_pair
    workflow = document(node("start", "trigger"))
    with CallCounter() as receiver:
        for _ in range(3):
            execution_id = first.start(workflow, callbackUrl=f"{receiver.url}/done")
            first.ended(execution_id)
            at_once(first.pass_interval, second.pass_interval)
            wait_until(lambda i=execution_id: first.poll(i)["callback"]["delivered"])
            assert second.poll(execution_id)["callback"]["attempts"] == 1
        assert sum(receiver.counts.values()) == 3


def test_one_key_at_both_services_is_one_execution(service_pair: ServicePair) -> None:
    first, second = service_pair
    first.save(document(node("hook", "webhook"), node("end"), flow=("hook -> end",)), "keys")
    requests: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
        "delivery": ("/api/webhook/keys", {"webhook-id": "m"}, {"n": 1}),
        "submission": (
            "/api/workflows/execute",
            {"Idempotency-Key": "k"},
            {"workflowId": "keys"},
        ),
    }
    for path, headers, body in requests.values():
        with ThreadPoolExecutor(6) as pool:
            answers = list(
                pool.map(
                    lambda service, p=path, h=headers, b=body: service.http.post(
                        p, json=b, headers=h
                    ),
                    [first, second] * 3,
                )
            )
        assert {answer.status_code for answer in answers} == {200}
        (execution_id,) = {answer.json()["executionId"] for answer in answers}
        second.ended(execution_id)


def test_events_of_one_service_reach_the_clients_of_the_other_one(
    service_pair: ServicePair, gates: Gates
) -> None:
    first, second = service_pair
    execution_id = first.start(GATED)
    gates.wait_for("gate")
    with (
        sse(second, f"/api/executions/{execution_id}/stream") as events,
        sse(second, "/api/events") as every,
        websocket(second) as client,
    ):
        subscribe(client, executionId=execution_id)
        snapshots = [next(events).data, next(every).data, receive(client)]
        gates.open("gate")
        last = first.ended(execution_id)["seq"]
        second.pass_interval()
        rest = list(events)
        assert seqs(rest) == list(range(snapshots[0]["seq"] + 1, last + 1))
        assert [receive(client) for _ in rest] == [event.data for event in rest]
        assert [next(every).data for _ in rest] == [event.data for event in rest]
        # After the terminal event nothing more is sent, whatever both services do.
        at_once(first.pass_interval, second.pass_interval)
        marker = second.run_marker()
        assert next(every).data["executionId"] == marker
        subscribe(client, executionId=marker)  # the next message is its confirmation
