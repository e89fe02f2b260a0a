"""Submission and polling: the two requests that every client makes."""

from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until


def test_a_submitted_execution_is_polled_until_it_has_ended(service: RunningService) -> None:
    """A submission returns the id of the execution; its state is polled under that id."""
    greeting = node("greet", "addField", addFieldName="text", addFieldValue="Hello {{ name }}")
    graph = document(
        node("start", "trigger"), greeting, node("end"), flow=("start -> greet", "greet -> end")
    )

    submitted = service.http.post(
        "/api/workflows/execute", json={"graph": graph, "inputs": {"name": "Ada"}}
    )
    assert submitted.status_code == 200
    path = f"/api/executions/{submitted.json()['executionId']}"

    wait_until(lambda: service.http.get(path).json()["status"] == "completed")
    execution = service.http.get(path).json()
    assert execution["finalOutput"] == {"name": "Ada", "text": "Hello Ada"}
    assert execution["progress"]["percentage"] == 100
