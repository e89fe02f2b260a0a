"""Webhook: starts a workflow by an HTTP request."""

from tests.support.documents import document, node
from tests.support.service import RunningService


def test_an_http_request_starts_a_workflow(service: RunningService) -> None:
    """Any system can start a saved workflow that has a webhook node; the body is its input."""
    graph = document(node("hook", "webhook"), node("end"), flow=("hook -> end",))
    workflow_id = service.save(graph, "orders")

    response = service.http.post(f"/api/webhook/{workflow_id}", json={"order": 7})

    assert response.status_code == 200
    execution = service.ended(response.json()["executionId"])
    assert execution["status"] == "completed"
    assert execution["finalOutput"] == {"order": 7}
