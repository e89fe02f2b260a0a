"""Cancellation: stops a running execution."""

from tests.support.documents import document, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService


def test_a_running_execution_is_cancelled(service: RunningService, gates: Gates) -> None:
    """The running node is stopped, and the nodes behind it never start."""
    graph = document(node("work", "gate"), node("end"), flow=("work -> end",))
    execution_id = service.start(graph)
    gates.wait_for("work")

    response = service.http.post(f"/api/executions/{execution_id}/cancel")
    assert response.status_code == 200

    assert service.ended(execution_id)["status"] == "cancelled"
    logs = service.logs(execution_id)
    assert logs["work"]["status"] == "cancelled"
    assert "end" not in logs
