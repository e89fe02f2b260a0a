"""Misbehaving handlers: only their node fails, with its name and the reason."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import task
from prefect.exceptions import Abort, Pause

from flows.nodes import isolation
from offload import check_stop
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support import probe_nodes
from tests.support.documents import document, line, node
from tests.support.gates import current_gates
from tests.support.probe_nodes import PROBES, Gates
from tests.support.service import RunningService, wait_until


class OutOfThisWorld(BaseException):
    """Exception that is not an ``Exception``."""


class UnspeakableError(Exception):
    """Exception whose message cannot be created."""

    def __str__(self) -> str:
        raise LookupError("no words")


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "no message": (ValueError, "ValueError"),
    "a message": (lambda: KeyError("field"), "KeyError: 'field'"),
    "NUL": (lambda: ValueError("a\0b"), "ValueError: a\ufffdb"),
    "a lone surrogate": (lambda: ValueError("a\ud800b"), "ValueError: a\\ud800b"),
    "one without words": (UnspeakableError, "no words"),
    "SystemExit": (lambda: SystemExit(3), "the handler exited with 3"),
    "KeyboardInterrupt": (KeyboardInterrupt, "the handler raised KeyboardInterrupt()"),
    "GeneratorExit": (GeneratorExit, "the handler raised GeneratorExit()"),
    "a BaseException": (lambda: OutOfThisWorld(1), "the handler raised OutOfThisWorld(1)"),
    "a group of those": (
        lambda: BaseExceptionGroup("some", [KeyboardInterrupt()]),
        "KeyboardInterrupt()",
    ),
    "a group": (lambda: ExceptionGroup("some", [ValueError("x")]), "ExceptionGroup: some"),
    "its own cancellation": (asyncio.CancelledError, "the handler cancelled itself"),
    "RecursionError": (lambda: RecursionError("too deep"), "RecursionError: too deep"),
    "MemoryError": (MemoryError, "MemoryError"),
    "TimeoutError": (lambda: TimeoutError("its own"), "TimeoutError: its own"),
    "StopIteration": (StopIteration, "StopIteration"),
    "StopAsyncIteration": (StopAsyncIteration, "StopAsyncIteration"),
    "Prefect's Abort": (lambda: Abort("stop"), "the handler raised Abort('stop')"),
    "Prefect's Pause": (lambda: Pause("stop"), "the handler raised Pause('stop')"),
    "1 MB": (lambda: ValueError("x" * 1_000_000), "ValueError: xxx"),
}


@task(name="throw")
async def handle_throw(node: dict[str, Any], input_data: object) -> None:
    raise RAISED[node["config"]["what"]][0]()


@task(name="throwInThread")
def handle_throw_in_thread(node: dict[str, Any], input_data: object) -> None:
    raise RAISED[node["config"]["what"]][0]()


@task(name="recurse")
async def handle_recurse(node: dict[str, Any], input_data: object) -> None:
    def deeper() -> None:
        deeper()

    deeper()


_threads: list[threading.Thread] = []
"""Threads in which ``obedient`` nodes have run."""


@task(name="obedient")
def handle_obedient(node: dict[str, Any], input_data: object) -> None:
    """Compute until the node is stopped."""
    _threads.append(threading.current_thread())
    current_gates().enter(node["id"])
    while True:
        check_stop()


@task(name="deaf")
async def handle_deaf(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Ignore every cancellation until the gate opens."""
    mine, name = current_gates(), node["config"].get("gate", node["id"])
    mine.enter(name)
    while not mine.is_open(name):
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            mine.left.append(name)
    return {"success": True}


OWN = {
    "throw": handle_throw,
    "throwInThread": handle_throw_in_thread,
    "recurse": handle_recurse,
    "deaf": handle_deaf,
    "obedient": handle_obedient,
}
TYPES = NodeTypes({**NODE_HANDLERS, **PROBES, **OWN}, NODE_CONFIGS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all of these handlers, which still executes workflows at the end."""
    with RunningService(tmp_path_factory.mktemp("service"), TYPES) as service:
        yield service
        assert service.run(line(3))["status"] == "completed"


@pytest.fixture
def service(running: RunningService) -> Iterator[RunningService]:
    """Yield that service; after each test, it runs no node."""
    yield running
    open_rows = "SELECT id FROM {} WHERE status IN ('pending', 'running')"
    for table in ("workflow_executions", "execution_logs"):
        assert running.rows(open_rows.format(table)) == []


def with_others(bad: dict[str, Any]) -> dict[str, Any]:
    """Return a document with ``bad`` between a trigger and an output."""
    flow = ("start -> bad", "bad -> end")
    return document(node("start", "trigger"), {**bad, "id": "bad"}, node("end"), flow=flow)


def failed(service: RunningService, bad: dict[str, Any]) -> str:
    """Run ``bad``, which must fail as a node does; return the logged reason."""
    done = service.run(with_others({**bad, "label": "The bad one"}))
    assert done["status"] == "failed"
    assert done["currentNodeId"] is None
    assert done["finalOutput"] is None
    logs = service.logs(done["executionId"])
    assert {node_id: log["status"] for node_id, log in logs.items()} == {
        "start": "completed",
        "bad": "error",
    }
    reason = logs["bad"]["error"]
    assert done["error"] == f"Node 'The bad one' (bad) failed: {reason}"
    return reason


RESULTS = {
    "no dict": "returned list, not a dict",
    "nothing": "returned NoneType, not a dict",
    "NaN": "nan is not a JSON number at x.1",
    "infinity": "inf is not a JSON number",
    "bytes": "a value of type bytes at raw",
    "a set": "a value of type set",
    "an object": "a value of type object at o",
    "a circle": "nested deeper than 200 levels",
    "deep": "nested deeper than 200 levels",
    "a tuple key": "an object key of type tuple",
    "a lone surrogate": "a string that is not valid Unicode",
    "a bad detail": "a value of type bytes at extra.raw",
    "a failure": "the other side said no",
    "a mute failure": "the handler reported a failure",
}


@pytest.mark.parametrize("gift", RESULTS)
def test_a_result_that_cannot_be_stored_is_the_nodes_failure(
    service: RunningService, gift: str
) -> None:
    assert RESULTS[gift] in failed(service, node("bad", "give", gift=gift))


@pytest.mark.parametrize("gift", ["no output", "unicode", "scalar"])
def test_an_unusual_result_that_can_be_stored_is_accepted(
    service: RunningService, gift: str
) -> None:
    done = service.run(with_others(node("bad", "give", gift=gift)))
    assert done["status"] == "completed"
    assert done["finalOutput"] == probe_nodes.RESULTS[gift].get("outputData")


@pytest.mark.parametrize("kind", ["throw", "throwInThread"])
@pytest.mark.parametrize("what", RAISED)
def test_any_exception_of_a_handler_fails_the_node(
    service: RunningService, what: str, kind: str
) -> None:
    assert RAISED[what][1] in failed(service, node("bad", kind, what=what))


def test_an_endless_recursion_is_the_nodes_failure(service: RunningService) -> None:
    assert failed(service, node("bad", "recurse")).startswith("RecursionError: ")


def test_an_endless_message_is_truncated_and_marked(service: RunningService) -> None:
    reason = failed(service, node("bad", "throw", what="1 MB", retries=1, retryDelaySeconds=0))
    assert reason.endswith("… (1000000 characters)")
    assert len(reason) < 5_000
    (row,) = service.rows("SELECT max(length(lastError)) FROM execution_logs WHERE nodeId='bad'")
    assert 4_000 < row[0] < 5_000


@pytest.mark.parametrize("what", ["KeyboardInterrupt", "SystemExit", "its own cancellation"])
def test_a_handler_that_is_tried_out_alone_cannot_do_more(
    service: RunningService, what: str
) -> None:
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "throw"}
    response = service.http.post(
        "/api/nodes/execute", json={**body, "node": {"config": {"what": what}}}
    )
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert response.json()["error"] == RAISED[what][1]


def test_a_handler_that_interrupts_does_not_affect_other_executions(
    service: RunningService, gates: Gates
) -> None:
    beside = service.start(document(node("gate", "gate")))
    gates.wait_for("gate")
    failed(service, node("bad", "throw", what="KeyboardInterrupt"))
    gates.open("gate")
    assert service.ended(beside)["status"] == "completed"


@pytest.mark.parametrize("kind", ["gate", "sync", "deaf"])
def test_a_handler_that_hangs_ends_at_its_timeout(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(isolation, "HANDLER_CANCEL_TIMEOUT_SECONDS", 0.1)
    assert failed(service, node("bad", kind, timeoutSeconds=0.2)) == "timed out after 0.2 s"


@pytest.mark.parametrize("kind", ["sync", "deaf"])
def test_a_handler_that_ignores_cancellation_is_abandoned(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(isolation, "HANDLER_CANCEL_TIMEOUT_SECONDS", 0.1)
    execution_id = service.start(document(node("stuck", kind)))
    gates.wait_for("stuck")
    service.http.post(f"/api/executions/{execution_id}/cancel")
    assert service.ended(execution_id)["status"] == "cancelled"
    assert service.logs(execution_id)["stuck"]["status"] == "cancelled"


@pytest.mark.parametrize("ending", ["cancellation", "timeout"])
def test_a_synchronous_handler_that_checks_whether_it_must_stop_ends(
    service: RunningService, gates: Gates, ending: str
) -> None:
    _threads.clear()
    limits = {"timeoutSeconds": 0.2} if ending == "timeout" else {}
    execution_id = service.start(document(node("busy", "obedient", **limits)))
    gates.wait_for("busy")
    if ending == "cancellation":
        service.http.post(f"/api/executions/{execution_id}/cancel")
    status = service.ended(execution_id)["status"]
    assert status == ("cancelled" if ending == "cancellation" else "failed")
    wait_until(lambda: not any(thread.is_alive() for thread in _threads))


def test_a_handler_that_ignores_cancellation_does_not_delay_a_stop(
    tmp_path: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "HANDLER_CANCEL_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("flows.worker.worker.THREAD_JOIN_TIMEOUT_SECONDS", 0.5)
    with RunningService(tmp_path, TYPES) as service:
        execution_id = service.start(document(node("stuck", "deaf")))
        gates.wait_for("stuck")
    stopped = not service._thread.is_alive()
    (row,) = service.rows("SELECT status FROM workflow_executions WHERE id=?", execution_id)
    assert (stopped, row["status"]) == (True, "pending")  # so that the next service continues it


def test_ten_megabytes_go_through_and_polling_stays_small(
    service: RunningService,
) -> None:
    graph = document(
        node("big", "give", gift="10 MB"),
        node("small", "give", gift="scalar"),
        node("other", "give", gift="scalar"),
        flow=("big -> small", "big -> other"),
    )
    sizes: list[int] = []
    execution_id = service.start(graph)

    def ended() -> bool:
        response = service.http.get(f"/api/executions/{execution_id}")
        sizes.append(len(response.content))
        return response.json()["status"] == "completed"

    wait_until(ended)
    assert max(sizes) < 100_000
    logs = service.logs(execution_id)
    text = {"text": "x" * 10_000_000}
    assert logs["big"]["outputData"] == text
    assert logs["small"]["inputData"] == logs["other"]["inputData"] == text


def test_ten_megabytes_of_final_output_are_whole(service: RunningService) -> None:
    done = service.run(document(node("big", "give", gift="10 MB")))
    assert done["status"] == "completed"
    assert done["finalOutput"] == {"big": {"text": "x" * 10_000_000}}


def test_no_thread_of_a_handler_outlives_it(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(node("n", "sync")))
    gates.wait_for("n")
    assert [t.daemon for t in threading.enumerate() if t.name == "node-handler"].count(True) >= 1
    gates.open("n")
    service.ended(execution_id)
    wait_until(lambda: all(t.name != "node-handler" for t in threading.enumerate()))


def test_the_error_of_an_exception_names_the_node_and_its_type(service: RunningService) -> None:
    done = service.run(document(node("lookup", "raise", message="'nope'")))
    assert done["error"] == "Node 'lookup' failed: RuntimeError: 'nope'"
