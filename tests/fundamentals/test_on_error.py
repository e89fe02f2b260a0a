"""Error branch: continues an execution after a failed node."""

from tests.support.documents import document, node
from tests.support.service import RunningService

PAYMENT = document(
    node("pay", "raise", message="card declined", onError="branch"),
    node("receipt"),
    node("apology", "addField", addFieldName="reason", addFieldValue="{{ error.message }}"),
    flow=("pay -> receipt", "pay -error-> apology"),
)


def test_a_failed_node_continues_on_its_error_branch(service: RunningService) -> None:
    """With ``onError: branch``, the error is data for the nodes behind the output ``error``."""
    execution = service.run(PAYMENT)

    assert execution["status"] == "completed"
    logs = service.logs(execution["executionId"])
    assert {node_id: log["status"] for node_id, log in logs.items()} == {
        "pay": "error",
        "receipt": "skipped",
        "apology": "completed",
    }
    assert logs["apology"]["outputData"]["reason"] == "RuntimeError: card declined"
