"""Limits: length of the queue, order of the queue, and duration of an execution."""

from pathlib import Path

from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

GATE = document(node("gate", "gate"), node("end"), flow=("gate -> end",))


def test_a_full_queue_is_a_429_with_retry_after(tmp_path: Path, gates: Gates) -> None:
    limits = {"max_concurrent_executions": 1, "max_pending_executions": 2}
    with RunningService(tmp_path, PROBE_TYPES, **limits) as service:
        running = service.start(GATE)
        gates.wait_for("gate")
        waiting = [service.submit().json()["executionId"] for _ in range(2)]
        refused = service.submit()
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "2 executions are already waiting" in refused.json()["detail"]
        assert len(service.rows("SELECT id FROM workflow_executions")) == 3
        assert [service.poll(i)["queuePosition"] for i in [running, *waiting]] == [None, 1, 2]
        gates.open("gate")
        assert {service.ended(i)["status"] for i in [running, *waiting]} == {"completed"}
        assert service.submit().status_code == 200


def test_one_organization_that_fills_its_share_leaves_room_for_another(
    tmp_path: Path, gates: Gates
) -> None:
    limits = {"max_concurrent_executions": 1, "max_pending_executions": 4}
    hook = document(node("hook", "webhook"), node("gate", "gate"), flow=("hook -> gate",))
    with RunningService(tmp_path, PROBE_TYPES, **limits) as service:
        done = service.run(document(node("n", "trigger")), organizationId="A")
        service.save(hook, "hooked")
        service.write("UPDATE workflows SET organizationId='A' WHERE id='hooked'")
        service.start(GATE, organizationId="A")
        gates.wait_for("gate")
        for _ in range(2):
            assert service.submit(organizationId="A").status_code == 200
        for refused in (
            service.submit(organizationId="A"),
            service.http.post(f"/api/executions/{done['executionId']}/rerun"),
            service.http.post("/api/webhook/hooked", json={}),
        ):
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            detail = refused.json()["detail"]
            assert "'A'" in detail
            assert "MAX_PENDING_EXECUTIONS_PER_ORGANIZATION=2" in detail
        assert service.submit(organizationId="B").status_code == 200
        assert service.submit().status_code == 200
        full = service.submit(organizationId="B")
        assert full.status_code == 429
        assert "MAX_PENDING_EXECUTIONS=4" in full.json()["detail"]
        gates.open("gate")


def test_an_execution_that_takes_too_long_fails_and_names_the_running_nodes(
    tmp_path: Path, gates: Gates
) -> None:
    with RunningService(tmp_path, PROBE_TYPES, execution_timeout_seconds=0.3) as service:
        done = service.run(GATE)
        while not gates.runs:  # on a busy machine, the time was over before the node started
            done = service.run(GATE)
        assert done["status"] == "failed"
        assert "took longer than it may" in done["error"]
        assert "'gate'" in done["error"]
        assert gates.left == ["gate"]
        logs = service.logs(done["executionId"])
        assert {i: log["status"] for i, log in logs.items()} == {"gate": "cancelled"}


def test_retention_deletes_ended_executions_while_the_service_runs(tmp_path: Path) -> None:
    with RunningService(tmp_path, PROBE_TYPES, execution_retention_count=3) as service:
        ids = [service.start(document(node("n", "trigger"))) for _ in range(8)]

        def left() -> bool:
            return len(service.rows("SELECT id FROM workflow_executions")) == 3

        wait_until(left)
        assert service.poll(ids[-1])["status"] == "completed"
        assert service.http.get(f"/api/executions/{ids[0]}").status_code == 404
        assert len(service.rows("SELECT id FROM execution_logs")) == 3


def test_flows_whose_loop_died_get_a_new_one(tmp_path: Path, gates: Gates) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with RunningService(tmp_path, PROBE_TYPES, lease_seconds=1) as service:
        execution_id = service.start(GATE)
        gates.wait_for("gate")
        service.app.state.services.worker._thread.call(die)
        gates.open("gate")
        assert service.ended(execution_id)["status"] == "completed"
        assert service.run(document(node("n", "trigger")))["status"] == "completed"
