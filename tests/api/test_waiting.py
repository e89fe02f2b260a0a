"""Waiting nodes: wait for a datetime or a person without holding a slot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior


def waiting(service: RunningService, execution_id: str) -> dict[str, object]:
    return wait_until(lambda: (seen := service.poll(execution_id))["status"] == "waiting" and seen)  # type: ignore[return-value]


def resume(service: RunningService, execution_id: str, node_id: str, **body: object):
    return service.http.post(f"/api/executions/{execution_id}/nodes/{node_id}/resume", json=body)


APPROVAL = document(
    node("start", "trigger"),
    node("ask", "approval", approvalMessage="Pay {{ amount }}?"),
    node("yes"),
    node("no"),
    flow=("start -> ask", "ask -true-> yes", "ask -false-> no"),
)


@pytest.mark.essential
@pytest.mark.parametrize(("approved", "taken", "left"), [(True, "yes", "no"), (False, "no", "yes")])
def test_an_approval_selects_the_branch(
    service: RunningService, approved: bool, taken: str, left: str
) -> None:
    execution_id = service.start(APPROVAL, inputs={"amount": 12})
    seen = waiting(service, execution_id)
    assert seen["currentNodeId"] == "ask"
    assert seen["progress"]["percentage"] == 25  # type: ignore[index]
    log = service.logs(execution_id)["ask"]
    assert log["status"] == "waiting"
    response = resume(service, execution_id, "ask", approved=approved, data={"by": "Ada"})
    assert response.status_code == 200
    done = service.ended(execution_id)
    assert done["finalOutput"] == {"amount": 12, "by": "Ada"}
    logs = service.logs(execution_id)
    assert (logs[taken]["status"], logs[left]["status"]) == ("completed", "skipped")
    (row,) = service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id)
    assert '"message":"Pay 12?"' in row["nodeResults"]


def test_a_node_that_no_longer_waits_cannot_be_resumed(service: RunningService) -> None:
    execution_id = service.start(APPROVAL, inputs={"amount": 1})
    waiting(service, execution_id)
    assert resume(service, execution_id, "yes").status_code == 409
    assert resume(service, execution_id, "ask").status_code == 200
    again = resume(service, execution_id, "ask", approved=False)
    assert again.status_code == 409
    done = service.ended(execution_id)
    assert service.logs(execution_id)["yes"]["status"] == "completed"
    assert resume(service, execution_id, "ask").status_code == 409
    assert service.poll(execution_id) == done
    assert resume(service, "nope", "ask").status_code == 404


def test_an_approval_without_a_response_fails_at_its_timeout(service: RunningService) -> None:
    done = service.run(document(node("ask", "approval", timeoutSeconds=0.3)))
    assert done["status"] == "failed"
    assert "no decision within 0.3 s" in done["error"]
    assert service.logs(done["executionId"])["ask"]["status"] == "error"


def test_a_wait_passes_its_input_on_afterwards(service: RunningService) -> None:
    graph = document(
        node("start", "trigger"),
        node("wait", "wait", waitSeconds="{{ delay }}"),
        node("end"),
        flow=("start -> wait", "wait -> end"),
    )
    before = datetime.now(UTC)
    execution_id = service.start(graph, inputs={"delay": 0.5})
    seen = waiting(service, execution_id)
    until = service.logs(execution_id)["wait"]["waitUntil"]
    assert datetime.fromisoformat(until) >= before + timedelta(seconds=0.5)
    assert seen["completedAt"] is None
    done = service.ended(execution_id)
    assert done["finalOutput"] == {"delay": 0.5}
    assert done["completedAt"] >= until


def test_a_wait_until_a_past_datetime_ends_at_once(service: RunningService) -> None:
    done = service.run(document(node("wait", "wait", waitUntil="2020-01-01T00:00:00Z")))
    assert done["status"] == "completed"


def test_a_wait_may_be_cut_short(service: RunningService) -> None:
    execution_id = service.start(document(node("wait", "wait", waitSeconds=86_400)))
    waiting(service, execution_id)
    assert resume(service, execution_id, "wait").status_code == 200
    assert service.ended(execution_id)["status"] == "completed"


@pytest.mark.parametrize(
    "config",
    [{}, {"waitSeconds": -1}, {"waitSeconds": "soon"}, {"waitUntil": "tomorrow"}],
)
def test_an_invalid_wait_is_rejected(service: RunningService, config: dict) -> None:
    service.save(document(node("wait", "wait", **config)))
    refused = service.submit()
    assert refused.status_code == 422
    assert "'wait'" in refused.json()["detail"]


def test_other_branches_continue_while_a_node_waits(service: RunningService, gates: Gates) -> None:
    graph = document(
        node("start", "trigger"),
        node("ask", "approval"),
        node("work", "gate"),
        node("end"),
        flow=("start -> ask", "start -> work", "ask -> end", "work -> end"),
    )
    execution_id = service.start(graph)
    gates.wait_for("work")
    wait_until(lambda: service.logs(execution_id)["ask"]["status"] == "waiting")
    assert service.poll(execution_id)["status"] == "running"
    assert resume(service, execution_id, "ask", data={"ok": 1}).status_code == 200
    wait_until(lambda: service.logs(execution_id)["ask"]["status"] == "completed")
    gates.open("work")
    assert service.ended(execution_id)["finalOutput"] == {"ok": 1}


def test_a_waiting_execution_holds_no_slot(tmp_path: Path, gates: Gates) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=1) as service:
        parked = [service.start(document(node("ask", "approval"))) for _ in range(5)]
        for execution_id in parked:
            waiting(service, execution_id)
        assert service.run(document(node("n", "trigger")))["status"] == "completed"
        (row,) = service.rows("SELECT count(*) AS n FROM orchestrator_runs WHERE owner IS NOT NULL")
        assert row["n"] == 0


def test_a_waiting_execution_is_cancelled_at_once(service: RunningService) -> None:
    execution_id = service.start(document(node("ask", "approval")))
    waiting(service, execution_id)
    response = service.http.post(f"/api/executions/{execution_id}/cancel").json()
    assert (response["success"], response["previousStatus"]) == (True, "waiting")
    assert service.poll(execution_id)["status"] == "cancelled"
    assert service.logs(execution_id)["ask"]["status"] == "cancelled"


@on_both()
def test_waits_continue_after_a_restart(tmp_path: Path, storage: Storage) -> None:
    with RunningService(tmp_path, **storage) as service:
        asked = service.start(APPROVAL, inputs={"amount": 3})
        timed = service.start(document(node("wait", "wait", waitSeconds=1)))
        waiting(service, asked)
        waiting(service, timed)
    with RunningService(tmp_path, **storage) as service:
        assert service.ended(timed)["status"] == "completed"
        assert resume(service, asked, "ask").status_code == 200
        assert service.ended(asked)["status"] == "completed"
