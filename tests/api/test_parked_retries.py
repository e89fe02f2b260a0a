"""Parked retries: a long delay holds no slot and survives a restart."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import task

from engine.errors import NodeError
from flows.nodes import prefect_task
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.documents import document, node
from tests.support.gates import current_gates
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBES, Gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService, wait_until

LONG = 3_600


@task(name="busy")
async def handle_busy(node: dict, input_data: object) -> dict:
    """Fail like a server that requests a delay of ``config.after`` seconds."""
    raise NodeError("429 Too Many Requests", retry_after=float(node["config"]["after"]))


@task(name="own", retries=1, retry_delay_seconds=LONG)
async def handle_own(node: dict, input_data: object) -> dict:
    """Fail; the handler declares its own retries."""
    current_gates().enter(node["id"])
    raise RuntimeError("it went wrong")


@task(name="stuck")
async def handle_stuck(node: dict, input_data: object) -> dict:
    """Fail; the second attempt waits at its gate."""
    mine = current_gates()
    mine.enter("stuck")
    while len(mine.runs) == 2 and not mine.is_open("stuck"):
        await asyncio.sleep(0.005)  # between two looks at the gate
    raise RuntimeError("it went wrong")


OWN = {"busy": handle_busy, "own": handle_own, "stuck": handle_stuck}
TYPES = NodeTypes({**NODE_HANDLERS, **PROBES, **OWN}, NODE_CONFIGS)


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service of ``service``, with the node types of this module and two slots."""
    directory = tmp_path_factory.mktemp("two-slots")
    reused = ReusedService(directory, TYPES, max_concurrent_executions=2)
    yield reused
    reused.stop()


@pytest.fixture
def service(service: RunningService, gates: Gates) -> RunningService:
    """The service, with fresh gates."""
    return service


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Park retries after any delay, so that tests do not wait for long delays."""
    monkeypatch.setattr(prefect_task, "MIN_PARKED_PAUSE_SECONDS", 0.0)


def flaky(node_id: str = "fetch", **config: object) -> dict:
    return node(
        node_id, "flaky", **{"failures": 1, "retries": 1, "retryDelaySeconds": LONG, **config}
    )


def parked(service: RunningService, execution_id: str) -> dict:
    return wait_until(lambda: (seen := service.poll(execution_id))["status"] == "waiting" and seen)  # type: ignore[return-value]


def resume(service: RunningService, execution_id: str, node_id: str, **body: object):
    return service.http.post(f"/api/executions/{execution_id}/nodes/{node_id}/resume", json=body)


@on_both()
def test_a_long_retry_after_delays_no_other_execution(
    service: RunningService,
) -> None:
    busy = document(node("fetch", "busy", after="999999999", retries=2))
    pausing = [service.start(busy) for _ in range(2)]
    for execution_id in pausing:
        assert parked(service, execution_id)["currentNodeId"] == "fetch"
    assert service.run(document(node("n", "trigger")))["status"] == "completed"
    log = service.logs(pausing[0])["fetch"]
    assert (log["status"], log["attempt"], log["error"]) == ("waiting", 2, None)
    assert log["lastError"].startswith("429 Too Many Requests (the server asks for a pause of 999")
    assert "MAX_RETRY_AFTER_SECONDS" in log["lastError"]
    until, since = (datetime.fromisoformat(log[key]) for key in ("waitUntil", "waitingSince"))
    assert (until - since).total_seconds() == pytest.approx(86_400, abs=5)
    (row,) = service.rows("SELECT count(*) AS n FROM orchestrator_runs WHERE owner IS NOT NULL")
    assert row["n"] == 0


@on_both()
def test_a_long_delay_of_the_config_parks_the_node_and_the_next_attempt_completes_it(
    service: RunningService, at_once: None
) -> None:
    graph = document(flaky(retryDelaySeconds=0.3), node("end"), flow=("fetch -> end",))
    done = service.run(graph)
    assert (done["status"], done["finalOutput"]) == ("completed", {"attempt": 2})
    log = service.logs(done["executionId"])["fetch"]
    assert (log["attempt"], log["lastError"]) == (2, "RuntimeError: attempt 1 went wrong")
    assert (log["waitUntil"], log["waitingSince"]) == (None, None)
    assert log["waitedMs"] >= 300
    assert log["startedAt"] == log["timestamp"]
    span = datetime.fromisoformat(log["endedAt"]) - datetime.fromisoformat(log["startedAt"])
    rounding_ms = 2
    assert log["duration"] + log["waitedMs"] <= span.total_seconds() * 1000 + rounding_ms


def test_the_retries_are_counted_over_all_pauses(service: RunningService, at_once: None) -> None:
    done = service.run(document(flaky(failures=9, retries=3, retryDelaySeconds=0.01)))
    assert done["status"] == "failed"
    assert "attempt 4 went wrong" in done["error"]
    log = service.logs(done["executionId"])["fetch"]
    assert (log["status"], log["attempt"]) == ("error", 4)
    assert log["lastError"] == "RuntimeError: attempt 3 went wrong"


def test_the_backoff_continues_after_a_restart(service: RunningService, gates: Gates) -> None:
    """Delays of 4, 8 and 16 s: the first one is short, and the others park the node."""
    config = {"failures": 9, "retries": 3, "retryDelaySeconds": 4, "retryBackoff": "exponential"}
    execution_id = service.start(document(flaky(**config)))
    pauses = []
    for attempt in (3, 4):
        log: Any = wait_until(
            lambda attempt=attempt: (
                (it := service.logs(execution_id).get("fetch"))
                and (it["status"], it["attempt"]) == ("waiting", attempt)
                and it
            )
        )
        until, since = (datetime.fromisoformat(log[key]) for key in ("waitUntil", "waitingSince"))
        pauses.append(round((until - since).total_seconds()))
        assert resume(service, execution_id, "fetch").status_code == 200
    assert pauses == [8, 16]
    assert "attempt 4 went wrong" in service.ended(execution_id)["error"]
    assert gates.runs == ["fetch"] * 4


def test_the_retries_that_a_handler_declares_park_the_node_too(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(document(node("fetch", "own")))
    parked(service, execution_id)
    assert resume(service, execution_id, "fetch").status_code == 200
    assert service.ended(execution_id)["status"] == "failed"
    assert gates.runs == ["fetch"] * 2


def test_cancelling_ends_a_parked_retry_at_once(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(flaky()))
    parked(service, execution_id)
    response = service.http.post(f"/api/executions/{execution_id}/cancel").json()
    assert (response["success"], response["previousStatus"]) == (True, "waiting")
    assert service.poll(execution_id)["status"] == "cancelled"
    log = service.logs(execution_id)["fetch"]
    assert (log["status"], log["waitingSince"]) == ("cancelled", None)
    assert log["endedAt"] is not None
    assert log["waitedMs"] is not None
    assert gates.runs == ["fetch"]


def test_resuming_starts_the_next_attempt_now_without_data(service: RunningService) -> None:
    execution_id = service.start(document(flaky()))
    parked(service, execution_id)
    for body in ({"data": {"a": 1}}, {"approved": False}):
        refused = resume(service, execution_id, "fetch", **body)
        assert refused.status_code == 409
        assert "waits for its next attempt" in refused.json()["detail"]
    assert resume(service, execution_id, "fetch").status_code == 200
    assert service.ended(execution_id)["finalOutput"] == {"fetch": {"attempt": 2}}
    assert resume(service, execution_id, "fetch").status_code == 409


@on_both()
def test_a_parked_retry_continues_after_a_restart(
    tmp_path: Path, storage: Storage, gates: Gates, at_once: None
) -> None:
    graph = document(flaky(failures=2, retries=2, retryDelaySeconds=1), node("x", "trigger"))
    with RunningService(tmp_path, TYPES, **storage) as service:
        execution_id = service.start(graph)
        parked(service, execution_id)
    with RunningService(tmp_path, TYPES, **storage) as service:
        assert service.ended(execution_id)["status"] == "completed"
        assert service.logs(execution_id)["fetch"]["attempt"] == 3
    assert gates.runs == ["fetch"] * 3


def test_a_stop_in_the_next_attempt_gives_no_retry_back(
    tmp_path: Path, gates: Gates, at_once: None
) -> None:
    graph = document(node("work", "stuck", retries=1, retryDelaySeconds=0.01))
    with RunningService(tmp_path, TYPES) as service:
        execution_id = service.start(graph)
        wait_until(lambda: len(gates.runs) == 2)
    with RunningService(tmp_path, TYPES) as service:
        assert service.ended(execution_id)["status"] == "failed"
        log = service.logs(execution_id)["work"]
        assert (log["attempt"], log["startedAt"] < log["timestamp"]) == (3, True)
    assert len(gates.runs) == 3


def test_other_branches_continue_while_a_retry_is_parked(
    service: RunningService, gates: Gates
) -> None:
    graph = document(flaky(), node("work", "gate"), node("end"), flow=("work -> end",))
    execution_id = service.start(graph)
    gates.wait_for("work")
    wait_until(lambda: service.logs(execution_id)["fetch"]["status"] == "waiting")
    assert service.poll(execution_id)["status"] == "running"
    assert resume(service, execution_id, "fetch").status_code == 200
    wait_until(lambda: service.logs(execution_id)["fetch"]["status"] == "completed")
    gates.open("work")
    assert service.ended(execution_id)["status"] == "completed"


def test_a_parked_retry_is_cancelled_where_another_node_stops_the_execution(
    service: RunningService, gates: Gates
) -> None:
    graph = document(flaky(), node("work", "gate"), node("bad", "raise"), flow=("work -> bad",))
    execution_id = service.start(graph)
    wait_until(lambda: service.logs(execution_id).get("fetch", {}).get("status") == "waiting")
    gates.open("work")
    assert service.ended(execution_id)["status"] == "failed"
    assert service.logs(execution_id)["fetch"]["status"] == "cancelled"


def test_items_of_a_loop_park_their_retries(service: RunningService, at_once: None) -> None:
    graph = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}", forEachConcurrency=3),
        flaky(retryDelaySeconds=0.2),
        node("end"),
        flow=("start -> each", "each -item-> fetch", "each -done-> end"),
    )
    done = service.run(graph, inputs={"rows": [1, 2, 3]})
    assert (done["status"], done["error"]) == ("completed", None)
    logs = service.logs(done["executionId"])
    assert [logs[f"fetch[{i}]"]["attempt"] for i in range(3)] == [2, 2, 2]
    assert all(logs[f"fetch[{i}]"]["waitedMs"] >= 200 for i in range(3))


def test_a_failed_item_closes_the_parked_retry_inside_it(
    service: RunningService, gates: Gates
) -> None:
    graph = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}"),
        flaky(),
        node("work", "gate", gate="work"),
        node("bad", "raise"),
        flow=("start -> each", "each -item-> fetch", "each -item-> work", "work -> bad"),
    )
    execution_id = service.start(graph, inputs={"rows": [1]})
    wait_until(lambda: service.logs(execution_id).get("fetch[0]", {}).get("status") == "waiting")
    gates.open("work")
    assert service.ended(execution_id)["status"] == "failed"
    assert service.logs(execution_id)["fetch[0]"]["status"] == "cancelled"


def test_a_failure_is_tolerated_after_all_attempts(service: RunningService, at_once: None) -> None:
    fetch = flaky(failures=9, retries=1, retryDelaySeconds=0.01, onError="continue")
    done = service.run(document(fetch, node("end"), flow=("fetch -> end",)))
    assert done["status"] == "completed"
    assert done["finalOutput"]["error"]["message"] == "RuntimeError: attempt 2 went wrong"


def test_the_time_limit_of_a_node_is_that_of_each_attempt(
    service: RunningService, gates: Gates, at_once: None
) -> None:
    """The delay is longer than the limit and does not count toward it."""
    work = node("work", "gate", retries=1, retryDelaySeconds=1, timeoutSeconds=0.3)
    execution_id = service.start(document(work))
    wait_until(lambda: len(gates.runs) == 2)
    gates.open("work")
    assert service.ended(execution_id)["status"] == "completed"
    assert service.logs(execution_id)["work"]["lastError"] == "timed out after 0.3 s"


def test_hidden_data_stays_hidden_while_a_retry_is_parked(service: RunningService) -> None:
    graph = document(node("start", "trigger"), flaky(hideData=True), flow=("start -> fetch",))
    execution_id = service.start(graph, inputs={"pin": "0451-secret"})
    parked(service, execution_id)
    (row,) = service.rows(
        "SELECT * FROM execution_logs WHERE executionId=? AND nodeId='fetch'", execution_id
    )
    assert "0451-secret" not in json.dumps(dict(row), default=str)
    assert resume(service, execution_id, "fetch").status_code == 200
    assert service.ended(execution_id)["status"] == "completed"


def test_a_rerun_starts_with_all_retries(service: RunningService, at_once: None) -> None:
    """The new execution runs the failed node with all retries of its config."""
    failed = service.run(document(flaky(failures=3, retries=1, retryDelaySeconds=0.01)))
    assert failed["status"] == "failed"
    response = service.http.post(f"/api/executions/{failed['executionId']}/rerun").json()
    assert service.ended(response["executionId"])["status"] == "completed"
    assert service.logs(response["executionId"])["fetch"]["attempt"] == 2


def test_a_node_that_runs_alone_does_not_wait_for_a_long_pause(
    service: RunningService, gates: Gates
) -> None:
    response = service.http.post(
        "/api/nodes/execute",
        json={"workflowId": "w", "nodeId": "fetch", "nodeType": "flaky", "node": flaky()},
    ).json()
    assert response["success"] is False
    assert response["error"] == (
        "RuntimeError: attempt 1 went wrong (in an execution, the next attempt starts after a "
        "pause of 3600 s)"
    )
    assert gates.runs == ["fetch"]


def test_the_check_finds_nothing_wrong_with_parked_retries(
    service: RunningService,
) -> None:
    from database.check import check_database  # noqa: PLC0415 - of this test alone

    parked(service, service.start(document(flaky())))
    report = check_database(service.settings.url)
    assert report.exit_code == 0, report.lines
