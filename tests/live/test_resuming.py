"""Reconnecting clients: get every missed event exactly once, wherever they were cut off."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.documents import document, line, node
from tests.support.generated import IS_THOROUGH
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import (
    StreamEvent,
    messages_until_end,
    receive,
    seqs,
    shape,
    sse,
    streamed_events,
    subscribe,
    websocket,
)

pytestmark = pytest.mark.behavior

BUSY = document(
    node("start", "trigger"),
    *(node(f"a{i}", "addField", addFieldName=f"a{i}", addFieldValue=i) for i in range(4)),
    node("flaky", "flaky", failures=2, retries=2, retryDelaySeconds=0),
    node("if", "condition", conditionField="n", conditionOperator="equals", conditionValue="1"),
    node("yes"),
    node("no"),
    node("ask", "approval"),
    node("end"),
    flow=(
        *(f"start -> a{i}" for i in range(4)),
        "start -> flaky",
        "start -> if",
        "if -true-> yes",
        "if -false-> no",
        "a0 -> ask",
        "ask -true-> end",
    ),
)
"""Run parallel branches, retries, a skipped node and a resumed node."""


def run_busy(service: RunningService) -> str:
    execution_id = service.start(BUSY, inputs={"n": 1})
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    service.http.post(f"/api/executions/{execution_id}/nodes/ask/resume", json={"approved": True})
    assert service.ended(execution_id)["status"] == "completed"
    return execution_id


def run_again(service: RunningService) -> str:
    """Run an execution again; its first events belong to reused nodes."""
    graph = document(
        node("start", "trigger"),
        node("add", "addField"),
        node("once", "flaky", failures=1, retries=0),
        node("end"),
        flow=("start -> add", "add -> once", "once -> end"),
    )
    failed = service.run(graph)
    assert failed["status"] == "failed"
    response = service.http.post(f"/api/executions/{failed['executionId']}/rerun", json={})
    assert response.status_code == 200, response.text
    done = service.ended(response.json()["executionId"])
    assert done["status"] == "completed"
    assert service.logs(done["executionId"])["add"]["reusedFrom"] == failed["executionId"]
    return done["executionId"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("storage", "run"),
    [("sqlite", run_busy), ("sqlite", run_again), ("postgresql", run_again)],
    indirect=["storage"],
)
def test_a_client_that_was_cut_off_after_any_event_gets_exactly_the_rest(
    service: RunningService, gates: Gates, run: Callable[[RunningService], str]
) -> None:
    execution_id = run(service)
    events = streamed_events(service, execution_id, 0)
    last = events[-1].data["seq"]
    assert seqs(events) == list(range(1, last + 1))
    assert last == service.poll(execution_id)["seq"]
    path = f"/api/executions/{execution_id}/stream"
    positions = [event.data["position"] for event in events]
    for known in range(1, last):
        rest = [event.data for event in events[known:]]
        ways = ({"last": known}, {"lastEventId": known}, {"afterSeq": known})
        for options in ways if IS_THOROUGH else ways[known % 3 :][:1]:
            assert [
                event.data for event in streamed_events(service, execution_id, **options)
            ] == rest
        with sse(service, "/api/events", positions[known - 1], executionIds=execution_id) as many:
            assert [event.data for event in many] == rest
    with websocket(service) as client:
        for known in range(1, last):
            subscribe(client, executionId=execution_id, afterSeq=known)
            assert messages_until_end(client) == [event.data for event in events[known:]]
    for options in ({"last": last}, {"lastEventId": last}, {"afterSeq": last}):
        response = service.http.get(
            path,
            headers={"Last-Event-ID": str(options.pop("last"))} if "last" in options else {},
            params=options,
        )
        assert (response.status_code, response.content) == (204, b"")
    response = service.http.get(
        "/api/events",
        params={"executionIds": execution_id},
        headers={"Last-Event-ID": str(positions[-1])},
    )
    assert (response.status_code, response.content) == (204, b"")


def test_the_events_of_a_busy_execution(shared_service: RunningService, gates: Gates) -> None:
    events = streamed_events(shared_service, run_busy(shared_service), 0)
    nodes = [(log["nodeId"], log["status"], log["attempt"]) for e in events for log in logs(e)]
    of = {i: [(status, tries) for name, status, tries in nodes if name == i] for i, *_ in nodes}
    assert of["flaky"] == [("running", 1), ("running", 2), ("running", 3), ("completed", 3)]
    assert of["no"] == [("skipped", 1)]
    assert of["ask"] == [("running", 1), ("waiting", 1), ("completed", 1)]
    assert all(len(logs(event)) <= 1 for event in events)
    assert {e.data["status"] for e in events} == {"pending", "running", "waiting", "completed"}


def logs(event: StreamEvent) -> list[dict[str, Any]]:
    return event.data["logs"]


@pytest.mark.parametrize("way", ["stream", "events", "websocket"])
def test_random_cuts_while_it_runs(
    shared_service: RunningService, gates: Gates, way: str, randomly: random.Random
) -> None:
    service = shared_service
    chain = line(20)
    chain["nodes"].insert(0, node("gate", "gate"))
    chain["connections"].append({"id": "g", "fromNodeId": "gate", "toNodeId": "start"})
    execution_id = service.start(chain)
    gates.wait_for("gate")
    seen: list[Any] = []
    opened = False
    while not seen or seen[-1]["type"] == "execution_progress":
        most = randomly.randint(1, 7) if opened else 1
        seen += some(service, way, execution_id, seen, most)
        if not opened:
            gates.open("gate")
            opened = True
    first, *rest = seen
    assert first["snapshot"] is True
    assert [message["seq"] for message in rest] == list(
        range(first["seq"] + 1, service.ended(execution_id)["seq"] + 1)
    )
    whole = streamed_events(service, execution_id, first["seq"])
    assert [shape(message) for message in rest] == [shape(event.data) for event in whole]


@pytest.fixture
def randomly() -> random.Random:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown if the test fails
    return random.Random(seed)


def some(
    service: RunningService, way: str, execution_id: str, seen: list[Any], most: int
) -> list[Any]:
    """Return up to ``count`` more messages from a connection that is closed after them."""
    got: list[Any] = []
    if way == "websocket":
        with websocket(service) as client:
            after = {"afterSeq": seen[-1]["seq"]} if seen else {}
            subscribe(client, executionId=execution_id, **after)
            for _ in range(most):
                got.append(receive(client))
                if got[-1]["type"] != "execution_progress":
                    break
        return got
    single = way == "stream"
    last = seen[-1]["seq" if single else "position"] if seen else None
    path = f"/api/executions/{execution_id}/stream" if single else "/api/events"
    query = {} if single else {"executionIds": execution_id}
    with sse(service, path, last, **query) as events:
        for event in events:
            got.append(event.data)
            if len(got) == most:
                break
    return got


GARBAGE = ["abc", "-1", "1.5", "0x10", "", "٣", "1" * 200 + "x", "null", "1,2"]


@pytest.mark.parametrize("header", GARBAGE)
def test_a_foreign_last_event_id_is_ignored(
    shared_service: RunningService, gates: Gates, header: str
) -> None:
    execution_id = shared_service.run(line(2))["executionId"]
    path = f"/api/executions/{execution_id}/stream"
    headers = [(b"Last-Event-ID", header.encode())]
    response = shared_service.http.get(path, headers=headers)
    assert response.status_code == 200
    assert response.text.count("data: ") == 1
    assert '"snapshot":true' in response.text.replace(" ", "")
    both = shared_service.http.get(path, headers=headers, params={"lastEventId": 3})
    assert "id: 4\n" in both.text
    assert "id: 3\n" not in both.text


@pytest.mark.parametrize("number", [10_000, 2**31, 2**63 - 2, 2**63 - 1, 10**50, 10**4200])
def test_an_unknown_future_number_results_in_a_snapshot(
    shared_service: RunningService, gates: Gates, number: int
) -> None:
    execution_id = shared_service.run(line(2))["executionId"]
    header = str(number)
    (only,) = streamed_events(shared_service, execution_id, header)
    assert only.data["snapshot"] is True
    with sse(shared_service, "/api/events", header, executionIds=execution_id) as events:
        assert [event.data["snapshot"] for event in events] == [True]
    if number < 2**63:
        (only,) = streamed_events(shared_service, execution_id, afterSeq=number)
        assert only.data["snapshot"] is True
        with websocket(shared_service) as client:
            subscribe(client, executionId=execution_id, afterSeq=number)
            assert messages_until_end(client)[0]["snapshot"] is True


def test_a_deleted_number_results_in_a_snapshot(
    shared_service: RunningService, gates: Gates
) -> None:
    execution_id = shared_service.run(line(3))["executionId"]
    sql = "DELETE FROM orchestrator_events WHERE executionId = ? AND seq <= 5"
    shared_service.write(sql, execution_id)
    (only,) = streamed_events(shared_service, execution_id, 3)
    assert only.data["snapshot"] is True
    assert seqs(streamed_events(shared_service, execution_id, 5))[0] == 6


@pytest.mark.parametrize(
    "path",
    [
        "/api/executions/nope/stream",
        "/api/events?executionIds=nope",
        "/api/executions/nope/stream?lastEventId=3",
    ],
)
def test_an_unknown_execution_is_a_404(shared_service: RunningService, path: str) -> None:
    response = shared_service.http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "'nope'" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/executions/x/stream?lastEventId=abc", "lastEventId"),
        ("/api/executions/x/stream?afterSeq=-1", "afterSeq"),
        ("/api/events?executionIds=,", "executionIds"),
        ("/api/events?organizationId=", "organizationId"),
        ("/api/events?executionIds=" + ",".join(f"e{i}" for i in range(501)), "executionIds"),
    ],
)
def test_an_invalid_query_is_rejected(
    shared_service: RunningService, path: str, named: str
) -> None:
    response = shared_service.http.get(path)
    assert response.status_code == 422
    assert named in response.text
