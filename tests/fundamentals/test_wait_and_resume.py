"""Waiting nodes: park an execution until a person resumes it."""

from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until

APPROVAL = document(
    node("start", "trigger"),
    node("ask", "approval", approvalMessage="Pay {{ amount }}?"),
    node("pay"),
    flow=("start -> ask", "ask -true-> pay"),
)


def test_an_execution_waits_until_a_person_resumes_it(service: RunningService) -> None:
    """A waiting execution uses no slot; the data of the response continues in the workflow."""
    execution_id = service.start(APPROVAL, inputs={"amount": 12})
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")

    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    response = service.http.post(path, json={"approved": True, "data": {"by": "Ada"}})
    assert response.status_code == 200

    execution = service.ended(execution_id)
    assert execution["status"] == "completed"
    assert execution["finalOutput"] == {"amount": 12, "by": "Ada"}
