"""Failures: failed executions are listed in groups with the same error."""

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService

pytestmark = pytest.mark.behavior


def failing(message: str, node_id: str = "bad") -> dict:
    return document(node(node_id, "raise", message=message))


@pytest.mark.essential
def test_failures_with_the_same_error_are_one_group(service: RunningService) -> None:
    first = service.run(failing("order 17 is unpaid"))
    second = service.run(failing("order 18 is unpaid"))
    other = service.run(failing("order 18 is lost"))
    elsewhere = service.run(failing("order 18 is lost", "worse"))
    service.run(document(node("fine")))
    again = f"/api/executions/{second['executionId']}/rerun"
    service.ended(service.http.post(again, json={}).json()["executionId"])
    groups = service.http.get("/api/failures").json()["failures"]
    assert [(group["count"], group["rerunCount"]) for group in groups] == [(3, 1), (1, 0), (1, 0)]
    (unpaid, *lost) = groups
    assert unpaid["message"] == "RuntimeError: order <number> is unpaid"
    assert (unpaid["workflowId"], unpaid["workflowName"]) == ("w", "A workflow")
    assert (unpaid["nodeId"], unpaid["nodeType"]) == ("bad", "raise")
    assert unpaid["firstAt"] == first["completedAt"]
    assert unpaid["executionIds"][1:] == [second["executionId"], first["executionId"]]
    assert [group["nodeId"] for group in lost] == ["worse", "bad"]
    assert [group["executionIds"] for group in lost] == [
        [elsewhere["executionId"]],
        [other["executionId"]],
    ]
    for query, count in (("limit=1", 1), ("workflowId=w", 3), ("workflowId=x", 0)):
        found = service.http.get(f"/api/failures?{query}").json()["failures"]
        assert len(found) == count
    assert service.http.get("/api/failures?organizationId=A").json() == {"failures": []}
