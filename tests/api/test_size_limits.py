"""Size limits of results and executions: their errors name the setting and the node."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flows.execution.deferred_steps import MAX_STEP_DELAY_SECONDS
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES, RESULTS, Gates
from tests.support.service import RunningService, wait_until

RESULT_BYTES = 100_000
EXECUTION_BYTES = 1_000_000

_shared: Any = ["a text that is there once"]
for _ in range(40):
    _shared = [_shared, _shared]
RESULTS["a list that is shared"] = {"success": True, "outputData": _shared}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(
        tmp_path_factory.mktemp("service"),
        PROBE_TYPES,
        max_node_result_bytes=RESULT_BYTES,
        max_execution_bytes=EXECUTION_BYTES,
        max_template_read_bytes=2_000_000,
    ) as running:
        yield running


def chain(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a trigger and nodes, one after another."""
    every = [node("start", "trigger"), *nodes]
    ids = [item["id"] for item in every]
    return document(*every, flow=tuple(f"{a} -> {b}" for a, b in pairwise(ids)))


def doubling(length: int) -> dict[str, Any]:
    add = [
        node(f"n{i}", "addField", addFieldName=f"f{i}", addFieldValue="{{ input }}", retries=3)
        for i in range(length)
    ]
    return chain(*add)


def stored_bytes(service: RunningService, execution_id: str) -> int:
    """Return the size of all stored data of the execution."""
    logs = 'SELECT "inputData", "outputData", "resultDetail" FROM execution_logs'
    rows = service.rows(f'{logs} WHERE "executionId" = ?', execution_id)
    ends = 'SELECT inputs, "nodeResults", "finalOutput" FROM workflow_executions WHERE id = ?'
    rows += service.rows(ends, execution_id)
    return sum(len((value or "").encode()) for row in rows for value in tuple(row))


def counted(service: RunningService, execution_id: str) -> int:
    query = 'SELECT "storedBytes" FROM orchestrator_runs WHERE "executionId" = ?'
    return service.rows(query, execution_id)[0][0]


def test_a_chain_that_doubles_its_data_fails_at_the_limit(limited: RunningService):
    ended = limited.run(doubling(22), inputs={"a": "x" * 200})

    assert ended["status"] == "failed"
    failed = next(log for log in limited.logs(ended["executionId"]).values() if log["error"])
    assert f"'{failed['nodeId']}'" in ended["error"]
    assert "MAX_NODE_RESULT_BYTES" in ended["error"]
    assert failed["attempt"] == 1
    assert failed["outputData"] is None
    assert stored_bytes(limited, ended["executionId"]) < 8 * RESULT_BYTES


@pytest.mark.parametrize("gift", ["10 MB", "a list that is shared"])
def test_a_result_that_is_too_large_fails_its_node_without_a_retry(
    limited: RunningService, gift: str
):
    ended = limited.run(document(node("large", "give", gift=gift, retries=3)))

    assert ended["error"].startswith("Node 'large' failed")
    assert "MAX_NODE_RESULT_BYTES" in ended["error"]
    assert limited.logs(ended["executionId"])["large"]["attempt"] == 1


def test_a_single_node_alone_has_the_same_limit(limited: RunningService):
    body = {
        "workflowId": "w",
        "nodeId": "n",
        "nodeType": "give",
        "node": {"config": {"gift": "10 MB"}},
    }
    response = limited.http.post("/api/nodes/execute", json=body).json()
    assert response["success"] is False
    assert "MAX_NODE_RESULT_BYTES" in response["error"]


def test_many_small_results_are_too_much_for_an_execution(limited: RunningService):
    value = {"a": "x" * (RESULT_BYTES - 1_000)}
    ended = limited.run(chain(*(node(f"n{i}", "output") for i in range(20))), inputs=value)

    assert ended["status"] == "failed"
    assert "MAX_EXECUTION_BYTES" in ended["error"]
    logs = limited.logs(ended["executionId"])
    assert 2 <= len(logs) <= 6
    assert logs[list(logs)[-1]]["status"] == "error"
    assert stored_bytes(limited, ended["executionId"]) <= EXECUTION_BYTES
    assert counted(limited, ended["executionId"]) <= EXECUTION_BYTES


def test_inputs_count_although_each_is_a_copy_of_one_result(limited: RunningService):
    value = {"a": "x" * (RESULT_BYTES - 1_000)}
    readers = [
        node(f"r{i}", "addField", addFieldName="b", addFieldValue=1, onError="continue")
        for i in range(30)
    ]
    flow = tuple(f"start -> r{i}" for i in range(30))
    ended = limited.run(document(node("start", "trigger"), *readers, flow=flow), inputs=value)

    logs = limited.logs(ended["executionId"])
    errors = [log["error"] for log in logs.values() if log["status"] == "error"]
    assert len(errors) > 20
    assert all("MAX_EXECUTION_BYTES" in error for error in errors)
    assert stored_bytes(limited, ended["executionId"]) <= EXECUTION_BYTES


def test_the_final_output_counts_too(tmp_path: Path):
    value = {"a": "x" * 60_000}
    ends = [node(f"e{i}") for i in range(4)]
    flow = tuple(f"start -> {end['id']}" for end in ends)
    most = 60_000 * (1 + 2 + 4 * 3) + 100_000  # inputs, and results twice; without the output
    with RunningService(tmp_path, PROBE_TYPES, max_execution_bytes=most) as running:
        ended = running.run(document(node("start", "trigger"), *ends, flow=flow), inputs=value)
        assert (ended["status"], ended["finalOutput"]) == ("failed", None)
        assert "final output" in ended["error"]
        assert "MAX_EXECUTION_BYTES" in ended["error"]
        assert running.logs(ended["executionId"])["e3"]["status"] == "completed"


def test_the_results_of_a_loop_count_as_one_result(limited: RunningService):
    loop = document(
        node("each", "forEach", forEachItems=list(range(60)), forEachConcurrency=20),
        node("body", "manualInput", inputVarName="a", inputVarValue="x" * 2_000),
        flow=("each -item-> body",),
    )
    ended = limited.run(loop)

    assert ended["status"] == "failed"
    assert ended["error"].startswith("Node 'each' failed")
    assert "MAX_NODE_RESULT_BYTES" in ended["error"]
    assert limited.logs(ended["executionId"])["body[59]"]["status"] == "completed"


def test_data_of_a_resumption_counts_toward_the_limit(limited: RunningService):
    execution_id = limited.start(chain(node("ask", "approval"), node("end")), inputs={"a": 1})
    wait_until(lambda: limited.poll(execution_id)["status"] == "waiting")
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    limited.http.post(path, json={"data": {"b": "x" * RESULT_BYTES}}).raise_for_status()

    ended = limited.ended(execution_id)
    assert ended["error"].startswith("Node 'ask' failed")
    assert "MAX_NODE_RESULT_BYTES" in ended["error"]


@on_both()
def test_the_size_of_an_execution_is_counted_over_a_restart_and_a_rerun(
    tmp_path: Path, storage: Storage
):
    value = {"a": "é" * (RESULT_BYTES // 5)}
    after = [node(f"a{i}") for i in range(6)]
    asks = chain(node("b0"), node("b1"), node("ask", "approval"), *after)
    settings = {**storage, "max_execution_bytes": EXECUTION_BYTES}
    with RunningService(tmp_path, PROBE_TYPES, **settings) as running:
        execution_id = running.start(asks, inputs=value)
        wait_until(lambda: running.poll(execution_id)["status"] == "waiting")
        before = counted(running, execution_id)
    assert stored_bytes(running, execution_id) < before <= EXECUTION_BYTES
    with RunningService(tmp_path, PROBE_TYPES, **settings) as running:
        path = f"/api/executions/{execution_id}/nodes/ask/resume"
        running.http.post(path, json={}).raise_for_status()
        ended = running.ended(execution_id)
        assert "MAX_EXECUTION_BYTES" in ended["error"]
        assert counted(running, execution_id) >= before

        again = running.http.post(f"/api/executions/{execution_id}/rerun", json={}).json()
        rerun = running.ended(again["executionId"])
        assert "MAX_EXECUTION_BYTES" in rerun["error"]
        assert stored_bytes(running, again["executionId"]) <= EXECUTION_BYTES


def test_templates_that_read_too_much_fail_their_node(limited: RunningService):
    many = ["{{ l | join('') | length }}"] * 300
    ended = limited.run(
        chain(node("add", "addField", addFieldName="n", addFieldValue=many)),
        inputs={"l": [1] * 20_000},
    )
    assert ended["error"].startswith("Node 'add' failed")
    assert "MAX_TEMPLATE_READ_BYTES" in ended["error"]


@pytest.mark.parametrize("expression", ["json | length", "join('') | last", "join | upper | first"])
def test_a_node_whose_templates_compute_is_cancelled_at_once(
    service: RunningService, expression: str
):
    many = [f"{{{{ l | {expression} }}}}"] * 1_500
    execution_id = service.start(
        chain(node("add", "addField", addFieldName="n", addFieldValue=many)),
        inputs={"l": [1] * 100_000},
    )
    wait_until(lambda: service.poll(execution_id)["currentNodeId"] == "add")
    assert service.http.post(f"/api/executions/{execution_id}/cancel").json()["success"]
    ended = service.ended(execution_id)
    assert ended["status"] == "cancelled"
    assert service.logs(execution_id)["add"]["status"] == "cancelled"


def test_the_time_limit_of_a_node_holds_for_its_templates(service: RunningService):
    many = ["{{ l | join('') | length }}"] * 300
    ended = service.run(
        chain(node("add", "addField", addFieldName="n", addFieldValue=many, timeoutSeconds=0.2)),
        inputs={"l": [1] * 200_000},
    )
    assert ended["status"] == "failed"
    assert "timed out after 0.2 s" in ended["error"]


@pytest.mark.parametrize("is_loop", [False, True])
def test_only_so_many_nodes_of_an_execution_are_in_flight(
    tmp_path: Path, gates: Gates, is_loop: bool
):
    names = [f"g{i}" for i in range(8)]
    if is_loop:
        work = document(
            node("each", "forEach", forEachItems=list(range(8)), forEachConcurrency=8),
            node("g", "gate"),
            flow=("each -item-> g",),
        )
        names = [f"g[{i}]" for i in range(8)]
    else:
        work = document(*(node(name, "gate") for name in names))
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_nodes=3) as running:
        execution_id = running.start(work)
        wait_until(lambda: len(gates.runs) == 3)
        query = "SELECT count(*) FROM execution_logs WHERE status = 'running'"
        assert running.rows(query)[0][0] == 3
        for number in range(3, 8):
            gates.open(gates.runs[number - 3])
            wait_until(lambda count=number + 1: len(gates.runs) == count)
        gates.open(*names)
        assert running.ended(execution_id)["status"] == "completed"
    assert sorted(gates.runs) == names


def test_nodes_that_wait_for_their_turn_do_not_start_after_a_failure(tmp_path: Path, gates: Gates):
    work = document(node("gate"), node("fails", "raise"), *(node(f"n{i}") for i in range(30)))
    work["nodes"][0]["type"] = "gate"
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_nodes=2) as running:
        execution_id = running.start(work)
        gates.wait_for("gate")
        query = "SELECT count(*) FROM execution_logs WHERE status = 'error'"
        wait_until(lambda: running.rows(query)[0][0])
        gates.open("gate")
        ended = running.ended(execution_id)
        logs = running.logs(execution_id)
    assert ended["status"] == "failed"
    assert set(logs) == {"gate", "fails"}


@pytest.mark.parametrize("delay", [0, MAX_STEP_DELAY_SECONDS])
def test_a_step_of_thousands_of_rows_is_recorded_piece_by_piece(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, delay: float
):
    # Without a delay, the steps before it are recorded, so that it is the first one to wait.
    monkeypatch.setattr("flows.execution.deferred_steps.MAX_STEP_DELAY_SECONDS", delay)
    dead = [f"d{i}" for i in range(1_200)]
    work = document(
        node("start", "trigger"),
        node("is", "condition", conditionField="a", conditionOperator="equals", conditionValue=1),
        *(node(name, "addField", addFieldName="a", addFieldValue=1) for name in dead),
        node("end"),
        flow=("start -> is", "is -true-> end", *(f"is -false-> {name}" for name in dead)),
    )
    ended = service.run(work, inputs={"a": 1})
    assert ended["status"] == "completed"
    progress = ended["progress"]
    assert (progress["completedNodes"], progress["skippedNodes"]) == (3, 1_200)
    rows = service.rows('SELECT seq, "skippedNodes" FROM orchestrator_events ORDER BY seq')
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert len({row[1] for row in rows}) > 2  # more than one transaction
