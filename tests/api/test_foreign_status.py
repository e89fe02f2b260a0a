"""Foreign status: another program changes ``workflow_executions.status`` of an execution."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.check import check_database
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService, wait_until

GATE = document(
    node("start", "trigger"),
    node("work", "gate"),
    node("end"),
    flow=("start -> work", "work -> end"),
)


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service of ``service``, with one slot."""
    reused = ReusedService(tmp_path_factory.mktemp("one-slot"), max_concurrent_executions=1)
    yield reused
    reused.stop()


@pytest.fixture
def service(service: RunningService, gates: Gates) -> Iterator[RunningService]:
    """Check the invariants of the database of the service at the end."""
    yield service
    report = check_database(service.settings.url)
    assert report.exit_code == 0, report.lines


def set_status(service: RunningService, execution_id: str, status: str) -> None:
    service.write("UPDATE workflow_executions SET status=? WHERE id=?", status, execution_id)


def row(service: RunningService, execution_id: str) -> dict:
    (found,) = service.rows(
        "SELECT e.*, r.owner, r.endedAt, r.claimableAt FROM workflow_executions e"
        " JOIN orchestrator_runs r ON r.executionId = e.id WHERE e.id=?",
        execution_id,
    )
    return dict(found)


def settled(service: RunningService, execution_id: str) -> dict:
    return wait_until(lambda: (found := row(service, execution_id))["endedAt"] and found)


def node_statuses(service: RunningService, execution_id: str) -> dict[str, str]:
    rows = service.rows("SELECT * FROM execution_logs WHERE executionId=?", execution_id)
    return {log["nodeId"]: log["status"] for log in rows}


@on_both()
@pytest.mark.parametrize("status", ["cancelled", "failed", "completed"])
def test_a_running_execution_that_another_program_ends_is_stopped(
    service: RunningService, gates: Gates, status: str
) -> None:
    execution_id = service.start(GATE)
    gates.wait_for("work")
    set_status(service, execution_id, status)
    ended = settled(service, execution_id)
    wait_until(lambda: gates.left == ["work"])
    assert (ended["status"], ended["currentNodeId"], ended["owner"]) == (status, None, None)
    assert ended["completedAt"]
    assert node_statuses(service, execution_id) == {"start": "completed", "work": "cancelled"}
    (last,) = service.rows(
        "SELECT * FROM orchestrator_events WHERE executionId=? ORDER BY seq DESC LIMIT 1",
        execution_id,
    )
    assert (last["status"], last["nodeId"]) == (status, None)
    seen = service.poll(execution_id)
    assert (seen["status"], seen["currentNodeId"]) == (status, None)
    assert ("Another program" in (seen["error"] or "")) == (status == "failed")
    assert service.run(document(node("n", "trigger")))["status"] == "completed"


def test_a_cancellation_by_another_program_keeps_the_results_so_far(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(GATE, inputs={"a": 1})
    gates.wait_for("work")
    set_status(service, execution_id, "cancelled")
    ended = settled(service, execution_id)
    assert json.loads(ended["nodeResults"])["start"]["outputData"] == {"a": 1}


@on_both()
@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_parked_execution_that_another_program_ends_is_settled(
    service: RunningService, status: str
) -> None:
    execution_id = service.start(document(node("ask", "approval")))
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    set_status(service, execution_id, status)
    ended = settled(service, execution_id)
    assert (ended["status"], ended["currentNodeId"], ended["claimableAt"]) == (status, None, None)
    assert node_statuses(service, execution_id) == {"ask": "cancelled"}
    answer = service.http.post(f"/api/executions/{execution_id}/nodes/ask/resume", json={})
    assert answer.status_code == 409


@on_both()
def test_a_queued_execution_that_another_program_cancels_never_starts(
    service: RunningService, gates: Gates
) -> None:
    service.start(GATE)
    gates.wait_for("work")
    queued = service.submit().json()["executionId"]
    set_status(service, queued, "cancelled")
    assert settled(service, queued)["status"] == "cancelled"
    gates.open("work")
    assert service.run(document(node("n", "trigger")))["status"] == "completed"
    assert node_statuses(service, queued) == {}


@on_both()
def test_the_children_of_an_execution_that_another_program_cancels_are_cancelled(
    tmp_path: Path, storage: Storage, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, **storage) as service:
        service.save(document(node("work", "gate")), "child")
        call = node("call", "subworkflow", subworkflowId="child")
        service.save(document(node("start", "trigger"), call, flow=("start -> call",)), "parent")
        parent = service.submit("parent").json()["executionId"]
        gates.wait_for("work")
        wait_until(lambda: service.poll(parent)["status"] == "waiting")
        child = service.logs(parent)["call"]["childExecutionId"]
        set_status(service, parent, "cancelled")
        assert settled(service, parent)["status"] == "cancelled"
        assert service.ended(child)["status"] == "cancelled"
        wait_until(lambda: gates.left == ["work"])


@on_both()
def test_a_parent_continues_when_another_program_cancels_its_child(
    tmp_path: Path, storage: Storage, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, **storage) as service:
        service.save(document(node("work", "gate")), "child")
        call = node("call", "subworkflow", subworkflowId="child")
        service.save(document(call), "parent")
        parent = service.submit("parent").json()["executionId"]
        gates.wait_for("work")
        wait_until(lambda: service.poll(parent)["status"] == "waiting")
        child = service.logs(parent)["call"]["childExecutionId"]
        set_status(service, child, "cancelled")
        assert "was cancelled" in service.ended(parent)["error"]


@on_both()
@pytest.mark.parametrize("status", ["cancelled", "failed", "completed"])
def test_a_step_before_the_next_poll_finds_the_end_by_another_program(
    tmp_path: Path, storage: Storage, gates: Gates, status: str
) -> None:
    """The executor records a step after another program has set the status."""
    slow = {"poll_interval_seconds": 60.0, **storage}
    with RunningService(tmp_path, PROBE_TYPES, **slow) as service:
        execution_id = service.start(GATE)
        gates.wait_for("work")
        set_status(service, execution_id, status)
        gates.open("work")
        ended = settled(service, execution_id)
        assert (ended["status"], ended["owner"]) == (status, None)
        assert node_statuses(service, execution_id) == {"start": "completed", "work": "completed"}


@on_both()
def test_a_last_step_before_the_next_poll_keeps_the_status_of_another_program(
    tmp_path: Path, storage: Storage, gates: Gates
) -> None:
    slow = {"poll_interval_seconds": 60.0, **storage}
    with RunningService(tmp_path, PROBE_TYPES, **slow) as service:
        execution_id = service.start(document(node("work", "gate")))
        gates.wait_for("work")
        set_status(service, execution_id, "cancelled")
        gates.open("work")
        ended = settled(service, execution_id)
        assert (ended["status"], ended["finalOutput"]) == ("cancelled", None)
        assert node_statuses(service, execution_id) == {"work": "completed"}


@on_both()
def test_a_status_that_is_not_terminal_does_not_stop_an_execution(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(GATE)
    gates.wait_for("work")
    set_status(service, execution_id, "pending")
    gates.open("work")
    assert service.ended(execution_id)["status"] == "completed"
    assert gates.runs == ["work"]


def test_a_callback_is_sent_after_an_end_by_another_program(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(GATE, callbackUrl="http://127.0.0.1:9/callback")
    gates.wait_for("work")
    set_status(service, execution_id, "cancelled")
    settled(service, execution_id)
    wait_until(lambda: service.poll(execution_id)["callback"]["attempts"] > 0)


@on_both()
def test_an_execution_that_another_program_deletes_is_stopped(
    tmp_path: Path, storage: Storage, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, lease_seconds=1.0, **storage) as service:
        execution_id = service.start(GATE)
        gates.wait_for("work")
        service.write("DELETE FROM workflow_executions WHERE id=?", execution_id)
        # More than once if the short lease was lost on a busy machine.
        wait_until(lambda: set(gates.left) == {"work"})
        assert service.http.get(f"/api/executions/{execution_id}").status_code == 404


@on_both()
def test_an_unknown_status_ends_a_running_and_a_parked_execution(
    tmp_path: Path, storage: Storage, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, **storage) as service:
        running = service.start(GATE)
        parked = service.start(document(node("ask", "approval")))
        gates.wait_for("work")
        wait_until(lambda: service.poll(parked)["status"] == "waiting")
        for execution_id in (running, parked):
            set_status(service, execution_id, "archived")
        for execution_id in (running, parked):
            assert settled(service, execution_id)["status"] == "archived"
            assert "cancelled" in node_statuses(service, execution_id).values()
        wait_until(lambda: gates.left == ["work"])
        assert check_database(service.settings.url).exit_code == 0
