"""Draining: a service that stops finishes running nodes and starts no others."""

from pathlib import Path

from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

TWO_BRANCHES = document(
    node("start", "trigger"),
    node("a", "gate"),
    node("b", "gate"),
    node("after"),
    flow=("start -> a", "start -> b", "a -> after"),
)


def stop_between(service: RunningService, gates: Gates) -> str:
    """Stop the service while both gates run; ``a`` ends first, then ``b``."""
    execution_id = service.start(TWO_BRANCHES)
    gates.wait_for("a", "b")
    control = service.app.state.services.worker._state.active[execution_id]
    service._server.should_exit = True
    wait_until(lambda: control.draining)
    query = "SELECT status FROM execution_logs WHERE executionId=? AND nodeId='a'"
    gates.open("a")
    wait_until(lambda: service.rows(query, execution_id)[0]["status"] == "completed")
    gates.open("b")
    return execution_id


def test_a_node_that_was_held_back_runs_after_the_restart(tmp_path: Path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, shutdown_grace_seconds=20) as service:
        execution_id = stop_between(service, gates)
    (row,) = service.rows("SELECT status FROM workflow_executions WHERE id=?", execution_id)
    assert row["status"] == "pending"
    with RunningService(tmp_path, PROBE_TYPES) as service:
        assert service.ended(execution_id)["status"] == "completed"
        assert service.logs(execution_id)["after"]["status"] == "completed"
        assert sorted(gates.runs) == ["a", "b"]
