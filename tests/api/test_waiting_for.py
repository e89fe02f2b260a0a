"""Waits of node runs: each log names the change that ends its wait, and ``resume`` agrees."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect import task

from engine.status import WaitingFor
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBES, Gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import sse

HOUR_SECONDS = 3_600
ASK = node("ask", "approval", approvalMessage="Pay?", timeoutSeconds=HOUR_SECONDS)


@task(name="park")
async def handle_park(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Park for an hour, and for the event of ``config.event``."""
    until = datetime.now(UTC) + timedelta(seconds=HOUR_SECONDS)
    park: dict[str, Any] = {"until": until.isoformat()}
    if event := node["config"].get("event"):
        park["event"] = {"name": event}
    return {"success": True, "outputData": {}, "park": park}


SETTINGS: dict[str, Any] = {
    "max_concurrent_executions": 2,
    "data_encryption_key": "a key of sixteen+",
}
TYPES = NodeTypes({**NODE_HANDLERS, **PROBES, "park": handle_park}, NODE_CONFIGS)


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service of ``service``, with the node type of this module, a key and two slots."""
    directory = tmp_path_factory.mktemp("waits")
    reused = ReusedService(directory, TYPES, **SETTINGS)
    yield reused
    reused.stop()


def alone(waiting: dict[str, Any]) -> Callable[[RunningService], str]:
    """Return a function that starts an execution of one node."""
    return lambda service: service.start(document(waiting))


def loop(service: RunningService) -> str:
    graph = document(
        node("start", "trigger"),
        node("n", "forEach", forEachItems="{{ rows }}"),
        ASK,
        flow=("start -> n", "n -item-> ask"),
    )
    return service.start(graph, inputs={"rows": [{"amount": 1}]})


def call(service: RunningService) -> str:
    service.save(document(ASK), "child")
    return service.start(document(node("n", "subworkflow", subworkflowId="child")))


def queued(service: RunningService) -> str:
    """Start an execution that leaves its slot, because another one has the permit of its node."""
    service.start(document(node("holder", "gate", concurrencyKey="printer")))
    wait_until(lambda: service.rows("SELECT 1 FROM orchestrator_permits"))
    waits = service.start(document(node("n", "gate", concurrencyKey="printer")))
    wait_until(lambda: len(service.rows("SELECT 1 FROM orchestrator_permits")) == 2)
    service.run(document(node("other", "trigger")))
    return waits


FLAKY = node("n", "flaky", failures=1, retries=1, retryDelaySeconds=HOUR_SECONDS)
ACCEPTED: dict[str, tuple[WaitingFor, Callable[[RunningService], str]]] = {
    "wait": (WaitingFor.TIME, alone(node("n", "wait", waitSeconds=HOUR_SECONDS))),
    "event": (WaitingFor.EVENT, alone(node("n", "waitForEvent", eventName="paid"))),
    "custom event": (WaitingFor.EVENT, alone(node("n", "park", event="paid"))),
    "hidden event": (WaitingFor.EVENT, alone(node("n", "park", event="paid", hideData=True))),
    "approval": (WaitingFor.RESUME, alone({**ASK, "id": "n"})),
    "other name": (WaitingFor.RESUME, alone({**ASK, "id": "n", "type": "humanApproval"})),
    "custom": (WaitingFor.RESUME, alone(node("n", "park"))),
    "hidden": (WaitingFor.RESUME, alone(node("n", "park", hideData=True))),
}
REFUSED: dict[str, tuple[WaitingFor, Callable[[RunningService], str]]] = {
    "retry": (WaitingFor.RETRY, alone(FLAKY)),
    "permit": (WaitingFor.PERMIT, queued),
    "child": (WaitingFor.CHILD, call),
    "items": (WaitingFor.ITEMS, loop),
}


@pytest.fixture
def service(service: RunningService, gates: Gates) -> RunningService:
    """The service, with fresh gates."""
    return service


def waiting_for(service: RunningService, execution_id: str) -> set[object]:
    """Return the values of the waiting node in all answers about its execution."""

    def polled() -> dict[str, Any] | None:
        seen = service.poll(execution_id)
        (log,) = [log for log in seen["logs"] if log["nodeId"] == "n"] or [{"status": None}]
        return log if seen["status"] == "waiting" and log["status"] == "waiting" else None

    first: Any = wait_until(polled)
    seen = {first["waitingFor"], service.logs(execution_id)["n"]["waitingFor"]}
    path = f"/api/executions/{execution_id}/stream"
    with sse(service, path) as events:
        state = [log for log in next(events).data["logs"] if log["nodeId"] == "n"]
    with sse(service, path, first["seq"] - 1) as events:
        change = next(events).data["logs"]
    assert (len(state), [log["nodeId"] for log in change]) == (1, ["n"])
    return seen | {log["waitingFor"] for log in (*state, *change)}


def resume(service: RunningService, execution_id: str, **body: object) -> int:
    path = f"/api/executions/{execution_id}/nodes/n/resume"
    return service.http.post(path, json=body).status_code


@on_both()
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_resumption_with_data_ends_these_waits(service: RunningService, name: str) -> None:
    expected, start = ACCEPTED[name]
    execution_id = start(service)
    assert waiting_for(service, execution_id) == {expected}
    assert resume(service, execution_id, data={"by": "Ada"}) == 200
    assert service.ended(execution_id)["status"] == "completed"
    assert service.logs(execution_id)["n"]["waitingFor"] is None


@on_both()
@pytest.mark.parametrize("name", REFUSED)
def test_no_resumption_with_data_ends_these_waits(
    service: RunningService, gates: Gates, name: str
) -> None:
    expected, start = REFUSED[name]
    execution_id = start(service)
    assert waiting_for(service, execution_id) == {expected}
    assert resume(service, execution_id, data={"by": "Ada"}) == 409
    assert resume(service, execution_id, approved=False) == 409
    if expected == WaitingFor.RETRY:
        assert resume(service, execution_id) == 200
        assert service.ended(execution_id)["status"] == "completed"
        return
    assert resume(service, execution_id) == 409
    assert service.logs(execution_id)["n"]["waitingFor"] == expected
    service.http.post(f"/api/executions/{execution_id}/cancel")
    gates.open("holder")
    assert service.ended(execution_id)["status"] == "cancelled"
    assert service.logs(execution_id)["n"]["waitingFor"] is None


def test_every_wait_was_tried() -> None:
    tried = {expected for expected, _ in (*ACCEPTED.values(), *REFUSED.values())}
    assert tried == set(WaitingFor)


@on_both()
def test_a_waiting_row_of_another_program_has_no_known_wait(service: RunningService) -> None:
    execution_id = service.run(document(node("n", "trigger")))["executionId"]
    service.write(
        "INSERT INTO execution_logs (id, executionId, nodeId, nodeType, status)"
        " VALUES ('foreign', ?, 'other', 'approval', 'waiting')",
        execution_id,
    )
    log = service.logs(execution_id)["other"]
    assert (log["status"], log["waitingFor"]) == ("waiting", None)
