"""Execution processes: they run the executions of a service, and their ends do not affect it.

The shared service never polls, so that each notification must pass between its processes.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import CALLS, NEVER
from tests.support.counting_server import CallCounter
from tests.support.crash_harness import START_SECONDS, ServiceProcess
from tests.support.documents import document, line, node
from tests.support.postgres import on_both
from tests.support.service import wait_until
from tests.support.stream_clients import StreamEvent, sse

pytestmark = pytest.mark.timeout(180)

NODES = {"node_type_modules": "tests.support.process_nodes"}


def child_pids(service: ServiceProcess) -> list[int]:
    """Return the ids of the running execution processes, from the log."""
    started = [event["process"] for event in service.events("execution_process_started")]
    return [pid for pid in started if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # An orphan without a reaper remains as a zombie, which has ended.
    return not (sys.platform == "linux" and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def all_run(service: ServiceProcess, count: int = 2) -> list[int]:
    """Wait until all execution processes claim executions; return their ids."""
    wait_until(lambda: len(child_pids(service)) == count, START_SECONDS)
    return child_pids(service)


def run_node(
    service: ServiceProcess, node_type: str, input_data: object = None, **config: object
) -> dict[str, Any]:
    """Run a single node; return the response."""
    body = {
        "workflowId": "w",
        "nodeId": "n",
        "nodeType": node_type,
        "node": {"config": config},
        "inputData": input_data,
    }
    response = service.http.post("/api/nodes/execute", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory: Path = tmp_path_factory.mktemp("processes")
    with ServiceProcess(
        directory, executor_processes=2, poll_interval_seconds=NEVER, **NODES
    ) as service:
        service.run_process()
        yield service


@pytest.fixture
def service(shared: ServiceProcess) -> ServiceProcess:
    """Return the shared service with two running processes."""
    all_run(shared)
    return shared


def test_executions_and_single_nodes_run_in_the_processes(service: ServiceProcess) -> None:
    pids = set(child_pids(service))
    execution = service.run(document(node("n", "processId")))
    assert service.logs(execution["executionId"])["n"]["outputData"] in pids
    assert run_node(service, "processId")["output"]["outputData"] in pids
    large = {"text": "é" * 200_000}  # larger than a pipe
    assert run_node(service, "trigger", large)["output"]["outputData"] == large
    assert service.http.get("/health/ready").status_code == 200


def test_a_stream_gets_the_events_and_the_output_of_another_process(
    service: ServiceProcess, visits: CallCounter
) -> None:
    graph = document(visits.node("gate", "go"), node("t", "writes"), flow=("gate -> t",))
    execution_id = service.start(graph)
    seen: list[StreamEvent] = []
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        seen.append(next(events))
        visits.open("go")
        seen += events
    deltas = "".join(e.data["delta"] for e in seen if e.type == "node_output_delta")
    assert deltas == "Hello"
    assert seen[-1].type == "execution_complete"
    assert any((e.data.get("currentNode") or {}).get("percentage") == 40 for e in seen)
    assert "output of a handler" in service.log.read_text()  # not in the pipe of the messages


def test_a_cancellation_reaches_the_process_that_runs_the_execution(
    service: ServiceProcess, visits: CallCounter
) -> None:
    ids = [service.start(document(visits.node("gate", "closed"))) for _ in range(2)]
    for execution_id in ids:
        visits.wait_for(execution_id, "gate")
        service.http.post(f"/api/executions/{execution_id}/cancel")
    assert [service.ended(execution_id)["status"] for execution_id in ids] == ["cancelled"] * 2


def test_an_approval_and_a_call_continue_without_a_poll(service: ServiceProcess) -> None:
    asks = document(node("ask", "approval"), node("end"), flow=("ask -true-> end",))
    service.save(asks, "child")
    parents = [service.start(CALLS) for _ in range(4)]
    sql = "SELECT id FROM workflow_executions WHERE workflowId = 'child' AND status = 'waiting'"
    children = wait_until(lambda: found if len(found := service.rows(sql)) == 4 else [])
    for (child,) in children:
        service.http.post(f"/api/executions/{child}/nodes/ask/resume", json={"approved": True})
    assert [service.ended(parent)["status"] for parent in parents] == ["completed"] * 4


def test_metrics_are_the_sum_of_the_processes_also_after_one_has_ended(
    service: ServiceProcess,
) -> None:
    def completed() -> float:
        name = 'workflow_executions_ended_total{status="completed"} '
        text = service.http.get("/metrics").text
        lines = [text for text in text.splitlines() if text.startswith(name)]
        assert len(lines) < 2
        return float(lines[0].removeprefix(name)) if lines else 0.0

    before = completed()
    ids = [service.start(line(3)) for _ in range(8)]
    for execution_id in ids:
        service.ended(execution_id)
    wait_until(lambda: completed() == before + 8)
    victim = child_pids(service)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in child_pids(service))
    assert completed() == before + 8

    def deaths() -> list[Mapping[str, Any]]:
        ended = service.events("execution_process_ended")
        return [event for event in ended if event["reason"] == "signal SIGKILL"]

    (event,) = wait_until(deaths)
    assert event["level"] == "error"


@pytest.mark.parametrize("node_type", ["exits", "hangs"])
def test_a_handler_that_ends_or_blocks_its_process_does_not_affect_the_service(
    service: ServiceProcess, visits: CallCounter, tmp_path: Path, node_type: str
) -> None:
    fatal = node("fatal", node_type, once=str(tmp_path / "file"))
    graph = document(visits.node("before"), fatal, flow=("before -> fatal",))
    execution_id = service.start(graph)
    service_pid = service.process.pid
    wait_until((tmp_path / "file").exists)
    assert service.http.get("/api/executions").status_code == 200
    assert service.ended(execution_id)["status"] == "completed"
    assert service.logs(execution_id)["fatal"]["outputData"] in all_run(service)
    assert visits.of(execution_id) == {"before": 1}
    assert service.node_rows(execution_id)["fatal"]["attempt"] == 2
    assert service.process.pid == service_pid
    assert service.violations() == []


def test_a_single_node_that_ends_its_process_gets_an_error(
    service: ServiceProcess, tmp_path: Path
) -> None:
    response = run_node(service, "exits", once=str(tmp_path / "file"))
    assert not response["success"]
    assert "process that ran the node has ended" in response["error"]


@on_both()
def test_processes_end_with_their_service_and_nothing_runs_twice(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process._settings |= {**NODES, "executor_processes": 1, "shutdown_grace_seconds": 0}
    process.run_process()
    (child,) = all_run(process, 1)
    graph = document(visits.node("before"), visits.node("gate", "go"), flow=("before -> gate",))
    execution_id = process.start(graph)
    visits.wait_for(execution_id, "gate")
    process.kill()  # SIGKILL: only the end of the pipe informs the process
    wait_until(lambda: not is_alive(child))
    assert process.row(execution_id)["status"] == "pending"
    assert process.node_rows(execution_id)["gate"]["status"] == "cancelled"

    process.run_process()
    visits.wait_for(execution_id, "gate", 2)
    (child,) = all_run(process, 1)
    assert process.stop() == 0
    assert not is_alive(child)
    row = process.row(execution_id)
    assert (row["status"], row["owner"], row["recoveries"]) == ("pending", None, 0)
    assert visits.of(execution_id) == {"before": 1, "gate": 2}
    assert process.violations(service_runs=False) == []
