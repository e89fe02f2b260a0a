"""``/api/events``: many executions, or an organization, on one connection."""

import threading

import pytest

from tests.support.documents import document, line, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import StreamEvent, exchange, receive, sse, subscribe, websocket

pytestmark = pytest.mark.behavior

GATED = document(node("gate", "gate"), node("end"), flow=("gate -> end",))


def test_other_organizations_see_no_data(service: RunningService, gates: Gates) -> None:
    own = service.start(GATED, organizationId="a")
    other = service.start(GATED, organizationId="b")
    gates.wait_for("gate")
    with (
        sse(service, "/api/events", organizationId="a") as events,
        sse(service, "/api/events", organizationId="b") as others,
        sse(service, "/api/events") as every,
        websocket(service) as client,
    ):
        subscribe(client, organizationId="a")
        assert next(events).data["executionId"] == receive(client)["executionId"] == own
        assert next(others).data["executionId"] == other
        assert {next(every).data["executionId"] for _ in range(2)} == {own, other}
        nobody = service.start(GATED)
        gates.open("gate")
        for execution_id in (own, other, nobody):
            service.ended(execution_id)
        marks = [service.run(GATED, organizationId=i)["executionId"] for i in "ab"]
        seen = until_ended(events, marks[0])
        assert {e.data["executionId"] for e in seen} == {own, marks[0]}
        assert {e.data["executionId"] for e in until_ended(others, marks[1])} == {other, marks[1]}
        all_seen = until_ended(every, marks[1])
        assert {e.data["executionId"] for e in all_seen} == {own, other, nobody, *marks}
        assert [int(e.id or 0) for e in all_seen] == sorted({e.data["position"] for e in all_seen})
        over_there = [receive(client) for _ in seen]
        assert over_there == [event.data for event in seen]
        # Reconnect with a position.
        after = over_there[3]["position"]
        subscribe(client, organizationId="a", afterSeq=after)
        assert [receive(client) for _ in over_there[4:]] == over_there[4:]
        assert exchange(client, type="ping") == {"type": "pong"}
        # The id of an execution with another organization yields no events.
        elsewhere = service.http.get(f"/api/events?executionIds={own}&organizationId=b")
        assert elsewhere.status_code == 404


def until_ended(events, execution_id: str) -> list[StreamEvent]:
    seen: list[StreamEvent] = []
    for event in events:
        seen.append(event)
        if event.type == "execution_complete" and event.data["executionId"] == execution_id:
            break
    return seen


def test_a_client_disconnected_between_two_snapshots_gets_the_second(
    service: RunningService, gates: Gates
) -> None:
    ids = {service.start(GATED) for _ in range(3)}
    wait_until(lambda: gates.runs.count("gate") == 3)
    for query in ({"executionIds": ",".join(ids)}, {}):
        with sse(service, "/api/events", **query) as events:
            shown = [next(events) for _ in range(3)]
        assert {event.data["executionId"] for event in shown} == ids
        assert [event.id is None for event in shown] == [True, True, False]
        assert [event.data["position"] is None for event in shown] == [True, True, False]
    gates.open("gate")


def test_reconnecting_all_the_while_many_run_misses_nothing(
    service: RunningService, gates: Gates
) -> None:
    marker = service.run(line(2))["executionId"]
    with sse(service, "/api/events", executionIds=marker) as events:
        last = int(next(events).id or 0)
    begin = last
    service.save(line(6))
    ids: list[str] = []

    def submit() -> None:
        ids.extend(service.submit().json()["executionId"] for _ in range(12))

    clients = [threading.Thread(target=submit) for _ in range(3)]
    for client in clients:
        client.start()
    seen: list[StreamEvent] = []
    ended: set[str] = set()
    cut = 0
    while len(ended) < 36:
        cut += 1
        with sse(service, "/api/events", last) as events:
            for event in events:
                seen.append(event)
                if event.type == "execution_complete":
                    ended.add(event.data["executionId"])
                if len(seen) % (cut % 17 + 3) == 0 or len(ended) == 36:
                    break
        last = int(seen[-1].id or 0)
    for client in clients:
        client.join()
    assert ended == set(ids)
    assert not any(event.data["snapshot"] for event in seen)
    positions = [event.data["position"] for event in seen]
    assert positions == sorted(set(positions))
    rows = service.rows(
        "SELECT position, executionId, seq FROM orchestrator_events WHERE position > ?"
        " ORDER BY position",
        begin,
    )
    assert [tuple(row) for row in rows] == [
        (e.data["position"], e.data["executionId"], e.data["seq"]) for e in seen
    ]
