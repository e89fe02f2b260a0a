"""Progress reports of running nodes: in polls, events and deltas."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect import task

from api.streaming.broadcaster import EventBroadcaster
from database import Database
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.progress import report_progress, send_delta
from tasks.registry import NodeTypes
from tests.support import probe_nodes
from tests.support.documents import document, node
from tests.support.gates import current_gates
from tests.support.llm_server import completion, serve_replies, streamed
from tests.support.probe_nodes import Gates
from tests.support.servers import Response
from tests.support.service import RunningService, wait_until


def _say(config: dict[str, Any]) -> None:
    for percentage, message in config.get("says", []):
        report_progress(percentage, message)
    for piece in config.get("pieces", []):
        send_delta(piece)


@task(name="teller")
async def handle_teller(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Report the values of the config, and wait at the gate."""
    _say(node["config"])
    return await probe_nodes.handle_gate.fn(node, input_data)


@task(name="syncTeller")
def handle_sync_teller(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Do the same in a separate thread."""
    _say(node["config"])
    return probe_nodes.handle_sync.fn(node, input_data)


@task(name="flood")
async def handle_flood(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Report as fast as a thread can."""

    def flood() -> None:
        for step in range(100_000):
            report_progress(step / 1_000, f"step {step}")

    await asyncio.to_thread(flood)
    return {"outputData": None}


@task(name="stumble")
async def handle_stumble(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Report, and fail in the first attempt; the second attempt waits at the gate."""
    current_gates().enter("stumble")
    if current_gates().runs.count("stumble") == 1:
        report_progress(80, "first attempt")
        send_delta("first")
        raise RuntimeError("stumbled")
    send_delta("second")
    return await probe_nodes.handle_gate.fn(node, input_data)


@task(name="wrong")
async def handle_wrong(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Report an invalid percentage."""
    report_progress(120)
    return {"outputData": None}


TELLERS = {
    "teller": handle_teller,
    "syncTeller": handle_sync_teller,
    "flood": handle_flood,
    "stumble": handle_stumble,
    "wrong": handle_wrong,
}
TYPES = NodeTypes({**NODE_HANDLERS, **probe_nodes.PROBES, **TELLERS}, NODE_CONFIGS)


class Published:
    """Messages that the worker published from any thread."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def __call__(self, execution_id: str, message: Mapping[str, Any]) -> None:
        with self.lock:
            self.messages.append({**message, "for": execution_id})

    def text(self, **of: Any) -> str:
        """Return the concatenated deltas of the messages with these fields."""
        with self.lock:
            return "".join(
                m["delta"] for m in self.messages if all(m.get(k) == v for k, v in of.items())
            )


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    published = Published()
    monkeypatch.setattr(EventBroadcaster, "publish", lambda _hub, *message: published(*message))
    return published


@pytest.fixture
def service(tmp_path: Path, published: Published) -> Iterator[RunningService]:
    with RunningService(tmp_path, TYPES) as running:
        yield running


def drawn(kind: str, **config: Any) -> dict[str, Any]:
    return document(
        node("start", "trigger"), node("n", kind, **config), node("end"),
        flow=("start -> n", "n -> end"),
    )  # fmt: skip


def reported(service: RunningService, execution_id: str) -> dict[str, Any] | None:
    """Return ``currentNode`` of the execution after the node has reported."""
    current = service.poll(execution_id)["currentNode"]
    return current if current and current["nodeId"] == "n" and current["message"] else None


def events(service: RunningService, execution_id: str) -> list[tuple[Any, ...]]:
    rows = service.rows(
        "SELECT nodeStatus, attempt, nodePercentage, nodeMessage FROM orchestrator_events "
        "WHERE executionId = ? AND nodeId = 'n' ORDER BY seq",
        execution_id,
    )
    return [tuple(row) for row in rows]


def violations(service: RunningService) -> list[str]:
    async def look() -> list[str]:
        database = Database(service.settings.url)
        try:
            found = await database.find_violations(service_runs=True)
        finally:
            await database.close()
        return [str(violation) for violation in found]

    return asyncio.run(look())


@pytest.mark.parametrize("kind", ["teller", "syncTeller"])
def test_a_report_shows_in_the_poll_while_the_node_runs_and_is_an_event(
    service: RunningService, gates: Gates, kind: str
):
    execution_id = service.start(drawn(kind, says=[[41.9, "page 4 of 10"]], gate="g"))
    current = wait_until(lambda: reported(service, execution_id))
    assert current is not None
    assert (current["percentage"], current["message"]) == (41, "page 4 of 10")
    assert service.logs(execution_id)["n"]["percentage"] == 41
    gates.open("g")
    assert service.ended(execution_id)["status"] == "completed"
    assert events(service, execution_id) == [
        ("running", 1, None, None),
        ("running", 1, 41, "page 4 of 10"),
        ("completed", 1, 41, "page 4 of 10"),
    ]
    assert service.logs(execution_id)["n"]["percentage"] is None  # it belongs to a running node
    assert violations(service) == []


def test_a_flood_of_reports_leaves_few_events(service: RunningService):
    execution_id = service.start(drawn("flood"))
    done = service.ended(execution_id)
    assert done["status"] == "completed"
    took = service.logs(execution_id)["n"]["duration"] / 1_000
    reports = [row for row in events(service, execution_id) if row[0] == "running" and row[3]]
    assert 1 <= len(reports) <= 1 + took
    assert violations(service) == []


def test_the_next_attempt_begins_without_a_report(
    service: RunningService, gates: Gates, published: Published
):
    execution_id = service.start(
        drawn("stumble", retries=1, retryDelaySeconds=0, gate="second attempt")
    )
    gates.wait_for("second attempt")
    current = service.poll(execution_id)["currentNode"]
    assert (current["attempt"], current["percentage"], current["message"]) == (2, None, None)
    gates.open("second attempt")
    assert service.ended(execution_id)["status"] == "completed"
    assert published.text(attempt=1) == "first"
    assert published.text(attempt=2) == "second"
    assert violations(service) == []


def test_reports_of_a_cancelled_node_end_with_the_node(service: RunningService, gates: Gates):
    execution_id = service.start(drawn("syncTeller", says=[[1, "on it"]], gate="g"))
    wait_until(lambda: reported(service, execution_id))
    service.http.post(f"/api/executions/{execution_id}/cancel")
    assert service.ended(execution_id)["status"] == "cancelled"
    assert [row[0] for row in events(service, execution_id)] == ["running", "running", "cancelled"]
    assert violations(service) == []


def test_a_wrong_percentage_fails_the_node_with_a_clear_error(service: RunningService):
    done = service.run(drawn("wrong"))
    assert done["status"] == "failed"
    assert "ValueError: the percentage should be a number from 0 to 100, not 120" in done["error"]


def test_deltas_are_published_and_not_stored(
    service: RunningService, gates: Gates, published: Published
):
    execution_id = service.start(drawn("syncTeller", pieces=["Hel", "lo"], gate="g"))
    wait_until(lambda: published.text() == "Hello")
    assert published.messages[0] == {
        "type": "node_output_delta",
        "executionId": execution_id,
        "nodeId": "n",
        "attempt": 1,
        "delta": published.messages[0]["delta"],
        "for": execution_id,
    }
    gates.open("g")
    service.ended(execution_id)
    assert [row[0] for row in events(service, execution_id)] == ["running", "completed"]


def test_a_previewed_node_publishes_no_reports(
    service: RunningService, published: Published, gates: Gates
):
    gates.open("g")
    tried = service.http.post(
        "/api/nodes/execute",
        json={
            "workflowId": "w",
            "nodeId": "n",
            "nodeType": "teller",
            "node": {"config": {"says": [[50, "half"]], "pieces": ["x"], "gate": "g"}},
        },
    ).json()
    assert tried["success"] is True
    assert published.messages == []


async def test_the_reply_of_an_llm_node_is_streamed_and_recorded(
    tmp_path: Path, published: Published
):
    gate = asyncio.Event()
    answers = iter(
        [
            Response.of({"error": {"message": "overloaded"}}, 503),
            streamed("first half,", gate, " second half 🎉"),
        ]
    )

    async def answer(_request: Any) -> Response:
        return next(answers, completion("too many requests"))

    async with serve_replies(answer) as server:
        settings = {"openai_api_key": "sk-1", "openai_base_url": f"{server.url}/v1"}
        settings |= {"http_allow_private_networks": True}
        with RunningService(tmp_path, TYPES, **settings) as service:
            config = {"llmPrompt": "x", "llmStream": True, "retryDelaySeconds": 0}
            execution_id = await asyncio.to_thread(service.start, drawn("llm", **config))
            await asyncio.to_thread(wait_until, lambda: published.text() == "first half,")
            running = await asyncio.to_thread(service.poll, execution_id)
            assert running["currentNode"]["nodeId"] == "n"
            gate.set()
            done = await asyncio.to_thread(service.ended, execution_id)
            logged = await asyncio.to_thread(service.logs, execution_id)
            broken = await asyncio.to_thread(violations, service)
    assert done["status"] == "completed"
    response = logged["n"]["outputData"]["response"]
    assert response == "first half, second half 🎉" == published.text(attempt=2)
    assert {message["attempt"] for message in published.messages} == {2}
    assert broken == []
