"""Reports of running handlers: streams deliver recorded progress and transient deltas."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import task
from websockets.sync.client import connect

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.progress import report_progress, send_delta
from tasks.registry import NodeTypes
from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import StreamEvent, sse, streamed_events

GO_ON, MAY_END = threading.Event(), threading.Event()


@task(name="teller")
def handle_teller(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Report the progress, and publish the output in deltas."""
    GO_ON.wait(20)
    report_progress(40, "two of five")
    send_delta("Hel")
    send_delta("lo")
    MAY_END.wait(20)
    return {"outputData": "Hello"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    GO_ON.clear()
    MAY_END.clear()
    types = NodeTypes({**NODE_HANDLERS, "teller": handle_teller}, NODE_CONFIGS)
    with RunningService(tmp_path, types) as running:
        yield running


def until_both(events: Iterator[StreamEvent]) -> list[StreamEvent]:
    """Return the events until the report and the whole output were received."""
    seen: list[StreamEvent] = []
    for event in events:
        seen.append(event)
        reported = any((e.data.get("currentNode") or {}).get("percentage") == 40 for e in seen)
        if reported and deltas(seen) == "Hello":
            return seen
    raise AssertionError(seen)


def deltas(events: list[StreamEvent]) -> str:
    return "".join(e.data["delta"] for e in events if e.type == "node_output_delta")


def test_reports_and_deltas_reach_a_stream_while_the_node_runs(service: RunningService) -> None:
    execution_id = service.start(document(node("t", "teller")))
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        assert next(events).data["snapshot"]
        GO_ON.set()
        seen = until_both(events)
        assert service.poll(execution_id)["currentNode"]["message"] == "two of five"
        MAY_END.set()
        seen += list(events)
    assert seen[-1].type == "execution_complete"
    (report,) = [e for e in seen if e.data.get("logs") and e.data["logs"][0]["percentage"] == 40]
    assert report.data["logs"][0]["message"] == "two of five"
    for event in seen:
        assert (event.id is None) == (event.type == "node_output_delta")
    # The journal contains the report but not the deltas.
    again = streamed_events(service, execution_id, afterSeq=0)
    assert deltas(again) == ""
    assert report in again


def test_deltas_of_a_node_that_hides_its_data_are_not_published(service: RunningService) -> None:
    execution_id = service.start(document(node("t", "teller", hideData=True)))
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        assert next(events).data["snapshot"]
        GO_ON.set()
        wait_until(lambda: (service.poll(execution_id)["currentNode"] or {}).get("message"))
        MAY_END.set()
        seen = list(events)
    assert seen[-1].type == "execution_complete"
    assert "Hel" not in json.dumps([event.data for event in seen])


def test_deltas_reach_a_websocket(service: RunningService) -> None:
    execution_id = service.start(document(node("t", "teller")))
    with connect(service.url.replace("http", "ws") + "/ws") as socket:
        socket.send(json.dumps({"type": "subscribe", "executionId": execution_id}))
        while "snapshot" not in (message := json.loads(socket.recv(20))):
            assert message["type"] == "subscribed"
        GO_ON.set()
        text = ""
        while text != "Hello":
            message = json.loads(socket.recv(20))
            if message["type"] == "node_output_delta":
                assert (message["executionId"], message["nodeId"]) == (execution_id, "t")
                text += message["delta"]
        MAY_END.set()
