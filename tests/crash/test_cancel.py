"""Cancellation of running executions, also through another service."""

import asyncio
from pathlib import Path

import pytest

from engine.errors import StorageBusyError
from flows.prefect_adapter.client import EmbeddedPrefectClient
from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until


def graph(visits: CallCounter) -> dict:
    return document(
        visits.node("before"),
        visits.node("held", "gate"),
        visits.node("after"),
        flow=("before -> held", "held -> after"),
    )


@pytest.fixture
def prefect_states(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the state names of the flow runs in this process."""
    names: list[str] = []
    original = EmbeddedPrefectClient.set_flow_run_state

    async def noting(self, flow_run_id, state, force=False):
        names.append(state.name)
        return await original(self, flow_run_id, state, force)

    monkeypatch.setattr(EmbeddedPrefectClient, "set_flow_run_state", noting)
    return names


def test_a_cancellation_closes_the_connection_and_starts_no_node(
    tmp_path: Path, visits: CallCounter, prefect_states: list[str]
) -> None:
    with RunningService(tmp_path, PROBE_TYPES) as service:
        execution_id = service.start(graph(visits))
        visits.wait_for(execution_id, "held")
        assert service.http.post(f"/api/executions/{execution_id}/cancel").json()["success"]
        done = service.ended(execution_id)
        assert done["status"] == "cancelled"
        wait_until(lambda: visits.gone == {f"{execution_id}:held": 1})
        wait_until(lambda: prefect_states[-1] == "Cancelled")
        assert prefect_states == ["Running", "Cancelled"]

        # The response is sent now, but the connection is closed.
        row = service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id)
        visits.open("gate")
        assert service.run(document(visits.node("next")))["status"] == "completed"
        assert service.rows("SELECT * FROM workflow_executions WHERE id=?", execution_id) == row
        assert visits.of(execution_id) == {"before": 1, "held": 1}
        logs = service.logs(execution_id)
        assert {i: log["status"] for i, log in logs.items()} == {
            "before": "completed",
            "held": "cancelled",
        }


def test_a_synchronous_handler_is_abandoned_and_its_result_dropped(
    service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(document(node("n", "sync"), node("end"), flow=("n -> end",)))
    gates.wait_for("n")
    service.http.post(f"/api/executions/{execution_id}/cancel")
    done = service.ended(execution_id)
    assert done["status"] == "cancelled"  # while the handler is still blocked
    gates.open("n")  # the thread ends now
    assert service.run(document(node("next", "trigger")))["status"] == "completed"
    assert service.poll(execution_id) == done
    assert {i: log["status"] for i, log in service.logs(execution_id).items()} == {"n": "cancelled"}


def test_cancelling_through_another_service_reaches_the_owner(
    tmp_path: Path, visits: CallCounter
) -> None:
    poll_seconds = 0.5
    with (
        ServiceProcess(tmp_path, poll_interval_seconds=poll_seconds) as owner,
        ServiceProcess(tmp_path) as other,
    ):
        owner.run_process()
        execution_id = owner.start(graph(visits))
        visits.wait_for(execution_id, "held")
        other.log = tmp_path / "other.log"
        other.run_process()
        assert other.http.post(f"/api/executions/{execution_id}/cancel").json()["success"]
        assert other.wait_ended(execution_id) == ["cancelled"]
        wait_until(lambda: visits.gone == {f"{execution_id}:held": 1})
        assert visits.of(execution_id) == {"before": 1, "held": 1}
        assert other.violations() == []


def test_a_cancellation_during_a_crash_holds_after_the_restart(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process()
    execution_id = process.start(graph(visits))
    visits.wait_for(execution_id, "held")
    process.freeze()
    while not asyncio.run(request_cancel(process, execution_id)):
        process.thaw()
        process.freeze()
    process.kill()
    process.run_process()
    assert process.wait_ended(execution_id) == ["cancelled"]
    assert visits.of(execution_id) == {"before": 1, "held": 1}
    assert process.violations() == []


async def request_cancel(process: ServiceProcess, execution_id: str) -> bool:
    """Request a cancellation in the database only, unless the frozen service has locked it."""
    database = process.open_database()
    try:
        await database.queue.request_cancel(execution_id)
    except StorageBusyError:
        return False
    else:
        return True
    finally:
        await database.close()
