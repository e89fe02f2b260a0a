"""Attempts: the segments of node runs that had several attempts or were parked."""

import pytest

from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior


@on_both()
def test_attempts_and_waits_are_segments_without_gaps(service: RunningService) -> None:
    drawn = document(
        node("once"),
        node("ask", "approval"),
        node("bad", "raise", message="no", retries=2, retryDelaySeconds=0),
        flow=("once -> ask", "ask -true-> bad"),
    )
    execution_id = service.start(drawn)
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    path = f"/api/executions/{execution_id}/attempts"
    waiting = service.http.get(path).json()["segments"]
    assert [(part["nodeId"], part["kind"]) for part in waiting] == [
        ("ask", "running"),
        ("ask", "parked"),
    ]
    assert waiting[-1]["endedAt"] is None
    service.http.post(f"/api/executions/{execution_id}/nodes/ask/resume", json={})
    service.ended(execution_id)
    segments = service.http.get(path).json()["segments"]
    parts = [(part["nodeId"], part["kind"], part["attempt"]) for part in segments]
    assert parts == [
        ("ask", "running", 1),
        ("ask", "parked", 1),
        *(("bad", "running", attempt) for attempt in (1, 2, 3)),
    ]
    logs = service.logs(execution_id)
    for node_id in ("ask", "bad"):
        own = [part for part in segments if part["nodeId"] == node_id]
        ends = [part["endedAt"] for part in own]
        # Each segment starts when the one before it ends.
        assert [part["startedAt"] for part in own] == [logs[node_id]["startedAt"], *ends[:-1]]
        assert ends[-1] == logs[node_id]["endedAt"]
    assert service.http.get("/api/executions/none/attempts").status_code == 404
