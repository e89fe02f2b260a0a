"""Retries: further attempts of a node that failed."""

from tests.support.documents import document, node
from tests.support.service import RunningService


def test_a_node_that_fails_is_attempted_again(service: RunningService) -> None:
    """The node fails twice and has two retries, so that its third attempt succeeds."""
    flaky = node("call", "flaky", failures=2, retries=2, retryDelaySeconds=0)

    execution = service.run(document(flaky))

    assert execution["status"] == "completed"
    log = service.logs(execution["executionId"])["call"]
    assert (log["status"], log["attempt"]) == ("completed", 3)
    assert log["lastError"] == "RuntimeError: attempt 2 went wrong"
