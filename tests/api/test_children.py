"""Parent and child executions: slots, cancellation and deletion, in any order."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import task

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.calls import (
    CALLS,
    GREETS,
    NEVER,
    call,
    child_of,
    delete_elsewhere,
    violations,
)
from tests.support.documents import document, node
from tests.support.postgres import Storage
from tests.support.probe_nodes import PROBE_TYPES, PROBES, Gates
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior

# Slots


def test_one_slot_is_enough_for_callers_and_called(tmp_path: Path) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=1) as service:
        service.save(GREETS, "c3")
        for depth in (2, 1):
            inner = call("c", f"c{depth + 1}")
            service.save(document(node("t", "trigger"), inner, flow=("t -> c",)), f"c{depth}")
        service.save(document(node("t", "trigger"), call("c", "c1"), flow=("t -> c",)))
        submitted = [service.submit(inputs={"name": str(i)}) for i in range(4)]
        for i, response in enumerate(submitted):
            done = service.ended(response.json()["executionId"])
            assert done["finalOutput"]["c"]["c"]["c"]["greeting"] == f"Hello {i}"


def test_a_full_queue_accepts_the_children_of_running_executions(
    tmp_path: Path, gates: Gates
) -> None:
    settings = {"max_concurrent_executions": 1, "max_pending_executions": 1}
    with RunningService(tmp_path, PROBE_TYPES, **settings) as service:
        service.save(GREETS, "child")
        graph = document(
            node("t", "trigger"), node("gate", "gate"), call(), flow=("t -> gate", "gate -> call")
        )
        execution_id = service.start(graph, inputs={"name": "Ada"})
        gates.wait_for("gate")
        assert service.submit("child", inputs={"name": "Eve"}).status_code == 200
        assert service.submit("child").status_code == 429
        gates.open("gate")
        assert service.ended(execution_id)["status"] == "completed"


def test_a_parent_that_waits_holds_no_slot(service: RunningService, gates: Gates) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    (row,) = service.rows("SELECT * FROM orchestrator_runs WHERE executionId=?", execution_id)
    assert (row["owner"], row["claimableAt"]) == (None, None)
    gates.open("gate")
    assert service.ended(execution_id)["status"] == "completed"


def test_parents_and_children_are_notified_without_a_poll(tmp_path: Path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, poll_interval_seconds=NEVER) as service:
        service.save(GREETS, "child")
        beside = document(
            node("t", "trigger"),
            call(),
            node("gate", "gate"),
            node("after", "gate"),
            flow=("t -> call", "t -> gate", "call -> after"),
        )
        execution_id = service.start(beside, inputs={"name": "Ada"})
        gates.wait_for(
            "gate", "after"
        )  # the parent still runs, and was notified of the end of the child
        gates.open("gate", "after")
        assert service.ended(execution_id)["status"] == "completed"
        assert service.run(CALLS, inputs={"name": "Ada"})["status"] == "completed"


# Cancelling


@pytest.mark.parametrize(
    ("storage", "poll_seconds"),
    [("sqlite", 0.2), ("sqlite", NEVER), ("postgresql", NEVER)],
    indirect=["storage"],
)
def test_cancelling_reaches_a_grandchild(
    tmp_path: Path, gates: Gates, poll_seconds: float, storage: Storage
) -> None:
    with RunningService(
        tmp_path, PROBE_TYPES, poll_interval_seconds=poll_seconds, **storage
    ) as service:
        service.save(document(node("gate", "gate")), "grandchild")
        service.save(document(call("c", "grandchild")), "child")
        execution_id = service.start(CALLS)
        gates.wait_for("gate")
        child = child_of(service, execution_id)
        wait_until(lambda: service.poll(child)["status"] == "waiting")
        grandchild = child_of(service, child)
        response = service.http.post(f"/api/executions/{execution_id}/cancel").json()
        assert response["success"] is True
        assert service.poll(execution_id)["status"] == "cancelled"
        assert service.poll(child)["status"] == "cancelled"
        assert service.ended(grandchild)["status"] == "cancelled"
        assert gates.left == ["gate"]
        assert violations(service) == []


def test_cancelling_a_parent_that_runs_cancels_what_it_called(
    service: RunningService, gates: Gates
) -> None:
    service.save(document(node("inner", "gate")), "child")
    execution_id = service.start(document(call(), node("outer", "gate")))
    gates.wait_for("inner", "outer")
    service.http.post(f"/api/executions/{execution_id}/cancel")
    assert service.ended(execution_id)["status"] == "cancelled"
    assert service.ended(child_of(service, execution_id))["status"] == "cancelled"
    assert sorted(gates.left) == ["inner", "outer"]


def test_a_parent_that_fails_elsewhere_cancels_what_it_called_without_a_poll(
    tmp_path: Path, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, poll_interval_seconds=NEVER) as service:
        service.save(document(node("inner", "gate")), "child")
        bad = document(call(), node("outer", "gate"), node("bad", "raise"), flow=("outer -> bad",))
        execution_id = service.start(bad)
        gates.wait_for("inner", "outer")
        gates.open("outer")
        assert service.ended(execution_id)["status"] == "failed"
        assert service.ended(child_of(service, execution_id))["status"] == "cancelled"
        assert service.logs(execution_id)["call"]["status"] == "cancelled"
        assert violations(service) == []


def test_a_parent_that_runs_out_of_time_cancels_what_it_called(
    tmp_path: Path, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, execution_timeout_seconds=2) as service:
        service.save(document(node("ask", "approval")), "child")
        execution_id = service.start(document(call(), node("outer", "gate")))
        gates.wait_for("outer")
        child = child_of(service, execution_id)
        assert "longer than it may" in service.ended(execution_id)["error"]
        assert service.ended(child)["status"] == "cancelled"


@pytest.mark.parametrize("graph", [document(node("gate", "gate")), document(node("a", "approval"))])
def test_a_cancelled_child_fails_the_node_that_called_it(
    service: RunningService, gates: Gates, graph: object
) -> None:
    service.save(graph, "child", "Printing")
    execution_id = service.start(CALLS)
    child = child_of(service, execution_id)
    wait_until(lambda: gates.runs or service.poll(child)["status"] == "waiting")
    service.http.post(f"/api/executions/{child}/cancel")
    error = service.ended(execution_id)["error"]
    assert error == f"Node 'call' failed: subworkflow 'Printing' (execution {child}) was cancelled"


@task(name="impatient")
async def handle_impatient(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Call a workflow and continue without its result."""
    until = datetime.now(UTC) + timedelta(seconds=0.5)
    park = {"call": {"workflowId": "child"}, "until": until.isoformat()}
    return {"outputData": {"went": "on"}, "park": park}


def test_a_custom_type_may_call_a_workflow_without_waiting_for_its_result(
    tmp_path: Path, gates: Gates
) -> None:
    types = NodeTypes({**NODE_HANDLERS, **PROBES, "impatient": handle_impatient}, NODE_CONFIGS)
    with RunningService(tmp_path, types) as service:
        service.save(document(node("gate", "gate")), "child")
        execution_id = service.start(document(node("n", "impatient"), node("outer", "gate")))
        gates.wait_for("gate", "outer")
        assert service.ended(child_of(service, execution_id))["status"] == "cancelled"
        assert service.logs(execution_id)["n"]["outputData"] == {"went": "on"}
        gates.open("outer")
        assert service.ended(execution_id)["status"] == "completed"
        assert violations(service) == []


# Deletions, restarts and faults


def test_a_node_that_waits_for_a_child_cannot_be_resumed(
    service: RunningService, gates: Gates
) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    path = f"/api/executions/{execution_id}/nodes/call/resume"
    refused = service.http.post(path, json={"data": {"forged": True}})
    assert refused.status_code == 409
    assert child_of(service, execution_id) in refused.json()["detail"]
    gates.open("gate")
    assert service.ended(execution_id)["finalOutput"] == {"gate": None}


@pytest.mark.parametrize(
    "how",
    ["the service", pytest.param("another program", marks=pytest.mark.one_process)],
)
def test_deleting_a_child_ends_the_wait_of_its_parent(
    service: RunningService, gates: Gates, how: str
) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    child = child_of(service, execution_id)
    if how == "the service":
        refused = service.http.delete("/api/workflows/child")
        assert refused.status_code == 409
        assert service.http.delete("/api/workflows/child?force=true").status_code == 204
    else:
        delete_elsewhere(service, child, enforces=True)
    error = service.ended(execution_id)["error"]
    assert error.endswith(f"subworkflow (execution {child}) failed: the execution was deleted")
    wait_until(lambda: gates.left == ["gate"])
    assert violations(service) == []


def test_deleting_a_caller_cancels_what_it_called(service: RunningService, gates: Gates) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    child = child_of(service, execution_id)
    assert service.http.delete("/api/workflows/w?force=true").status_code == 204
    assert service.ended(child)["status"] == "cancelled"
    assert service.poll(child)["parentExecutionId"] is None


@pytest.mark.one_process
@pytest.mark.parametrize("enforces", [True, False])
def test_children_are_cancelled_when_another_program_deletes_the_parent(
    service: RunningService, gates: Gates, enforces: bool
) -> None:
    service.save(document(node("gate", "gate")), "child")
    execution_id = service.start(CALLS)
    gates.wait_for("gate")
    child = child_of(service, execution_id)
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    delete_elsewhere(service, execution_id, enforces=enforces)
    assert service.ended(child)["status"] == "cancelled"
    wait_until(lambda: service.rows("SELECT * FROM orchestrator_children") == [])
