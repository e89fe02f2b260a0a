"""Stream messages: one envelope and one sequence on every transport."""

import json
from typing import Any

import httpx
import pytest

from tests.support.documents import document, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService
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

KEYS = {
    "type",
    "executionId",
    "workflowId",
    "organizationId",
    "status",
    "progress",
    "currentNodeId",
    "currentNode",
    "seq",
    "position",
    "timestamp",
    "snapshot",
    "logs",
}
WAY = document(
    node("start", "trigger"),
    node("gate", "gate"),
    node("end"),
    flow=("start -> gate", "gate -> end"),
)
BROKEN = document(
    node("start", "trigger"),
    node("gate", "gate"),
    node("bad", "raise", message="a tap\nand a 'leak', ключ 🎉"),
    flow=("start -> gate", "gate -> bad"),
)


@pytest.mark.essential
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_polling_sse_and_websocket_agree(service: RunningService, gates: Gates, end: str):
    execution_id = service.start(BROKEN if end == "failed" else WAY)
    gates.wait_for("gate")
    with (
        sse(service, f"/api/executions/{execution_id}/stream") as single,
        sse(service, "/api/events", executionIds=execution_id) as several,
        websocket(service) as client,
    ):
        firsts = [next(single).data, next(several).data]
        subscribe(client, executionId=execution_id)
        firsts.append(receive(client))
        assert firsts[0]["snapshot"] is True
        assert firsts[0]["currentNodeId"] == "gate"
        assert firsts[0]["currentNode"]["nodeId"] == "gate"
        assert firsts[1] == firsts[0]
        assert firsts[2] == firsts[0]
        if end == "cancelled":
            service.http.post(f"/api/executions/{execution_id}/cancel")
        else:
            gates.open("gate")
        one = list(single)
        many = list(several)
        other = messages_until_end(client)
    assert [event.id for event in one] == [str(event.data["seq"]) for event in one]
    assert [event.id for event in many] == [str(event.data["position"]) for event in many]
    assert [event.type for event in one] == [event.data["type"] for event in one]
    assert [event.data for event in one] == [event.data for event in many] == other

    # A later client reads the same messages from the journal.
    again = streamed_events(service, execution_id, 0)
    assert seqs(again) == list(range(1, len(again) + 1))
    assert [shape(event.data) for event in again][firsts[0]["seq"] :] == [*map(shape, other)]

    last_type = {"completed": "complete", "failed": "error", "cancelled": "cancelled"}[end]
    types = [event.type for event in again]
    assert types == ["execution_progress"] * (len(again) - 1) + [f"execution_{last_type}"]
    assert all(event.data.keys() == KEYS for event in again[:-1])
    last, polled = again[-1].data, service.poll(execution_id)
    assert last.keys() == KEYS | {"error", "finalOutput"}
    assert last["status"] == polled["status"] == end
    for key in ("error", "finalOutput", "progress", "seq", "currentNodeId"):
        assert last[key] == polled[key], key
    assert (last["progress"]["percentage"] == 100) == (end == "completed")


def test_a_node_has_an_event_for_its_start_and_its_end(
    shared_service: RunningService, gates: Gates
) -> None:
    gates.open("gate")
    done = shared_service.run(WAY, inputs={"n": 1})
    events = streamed_events(shared_service, done["executionId"], 0)
    nodes = [(log["nodeId"], log["status"]) for event in events for log in event.data["logs"]]
    assert nodes == [
        (i, status) for i in ("start", "gate", "end") for status in ("running", "completed")
    ]
    statuses = [event.data["status"] for event in events]
    assert statuses == ["pending"] + ["running"] * (len(events) - 2) + ["completed"]
    (gone_on,) = (e.data for e in events if e.data["logs"] and e.data["seq"] == 6)
    assert gone_on["logs"][0]["outputData"] == {"n": 1}
    shown = [event.data["progress"]["percentage"] for event in events]
    assert shown == sorted(shown)


def test_the_framing_and_the_headers(shared_service: RunningService, gates: Gates) -> None:
    gates.open("gate")
    awkward = {"text": "one\ntwo\r\nthree\r\u2028\u2029\u0085 ключ 🎉\n\nid: 9\n\ndata: x"}
    done = shared_service.run(WAY, inputs=awkward)
    path = f"{shared_service.url}/api/executions/{done['executionId']}/stream"
    with httpx.stream("GET", path, params={"afterSeq": 0}) as response:
        text = response.read().decode("utf-8")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    first, *frames, rest = text.split("\n\n")
    assert first == "retry: 2000"
    assert rest == ""
    for i, frame in enumerate(frames, start=1):
        lines = dict(line.split(": ", 1) for line in frame.split("\n"))
        data = json.loads(lines["data"])
        assert (lines["id"], lines["event"]) == (str(i), data["type"])
        assert len(frame.split("\n")) == 3
    assert data["finalOutput"] == awkward


def test_a_large_payload_is_truncated_and_marked(
    shared_service: RunningService, gates: Gates
) -> None:
    gates.open("gate")
    done = shared_service.run(WAY, inputs={"text": "x" * 100_000})
    events = streamed_events(shared_service, done["executionId"], 0)
    assert max(len(json.dumps(event.data)) for event in events) < 30_000
    (ended,) = (e for e in events if e.data["seq"] == 6)
    assert ended.data["logs"][0]["outputData"]["size"] > 100_000
    assert (
        streamed_events(shared_service, done["executionId"])[0].data["finalOutput"]["size"]
        > 100_000
    )


def test_a_late_client_gets_the_final_state_and_the_end(
    shared_service: RunningService, gates: Gates
) -> None:
    gates.open("gate")
    execution_id = shared_service.run(WAY, inputs={"n": 1})["executionId"]
    (only,) = streamed_events(shared_service, execution_id)
    assert (only.type, only.data["snapshot"]) == ("execution_complete", True)
    assert only.data["finalOutput"] == {"n": 1}
    assert [log["status"] for log in only.data["logs"]] == ["completed"] * 3
    with sse(shared_service, "/api/events", executionIds=execution_id) as events:
        assert [event.data for event in events] == [only.data]
    with websocket(shared_service) as client:
        subscribe(client, executionId=execution_id)
        assert receive(client) == only.data


def differences(events: list[StreamEvent]) -> dict[str, Any]:
    logs: dict[str, Any] = {}
    for event in events:
        logs |= {log["nodeId"]: log for log in event.data["logs"]}
    return logs


def test_the_node_logs_of_a_stream_equal_those_of_the_logs(
    shared_service: RunningService, gates: Gates
) -> None:
    gates.open("gate")
    execution_id = shared_service.run(BROKEN)["executionId"]
    assert differences(streamed_events(shared_service, execution_id, 0)) == shared_service.logs(
        execution_id
    )
