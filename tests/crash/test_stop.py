"""SIGTERM: the service ends in time, and no execution is lost, failed or cancelled."""

import signal
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.service import wait_until

GRACE_SECONDS = 300.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nodes_in_flight_finish_and_are_recorded_and_nothing_new_starts(
    tmp_path: Path, visits: CallCounter, number: signal.Signals
) -> None:
    with ServiceProcess(tmp_path, shutdown_grace_seconds=GRACE_SECONDS) as service:
        service.run_process()
        graph = document(visits.node("a", "gate"), visits.node("b"), flow=("a -> b",))
        execution_id = service.start(graph)
        visits.wait_for(execution_id, "a")
        service.process.send_signal(number)
        wait_until(lambda: service.events("shutdown_draining"))
        visits.open("gate")
        assert service.wait_dead() == 0  # it does not wait for the whole grace period
        row, nodes = service.row(execution_id), service.node_rows(execution_id)
        assert (row["status"], row["owner"], row["recoveries"]) == ("pending", None, 0)
        assert {i: n["status"] for i, n in nodes.items()} == {"a": "completed"}
        assert visits.of(execution_id) == {"a": 1}
        assert service.violations() == []

        service.run_process()
        assert service.wait_ended(execution_id) == ["completed"]
        assert visits.of(execution_id) == {"a": 1, "b": 1}


@pytest.mark.parametrize("node_type", ["http", "blocking"])
def test_a_node_that_exceeds_the_grace_period_runs_again_after_the_restart(
    tmp_path: Path, visits: CallCounter, node_type: str
) -> None:
    with ServiceProcess(tmp_path, shutdown_grace_seconds=0.3) as service:
        service.run_process()
        long = visits.node("long", "gate") if node_type == "http" else node("long", node_type)
        execution_id = service.start(document(long))
        wait_until(lambda: "long" in service.node_rows(execution_id))
        assert service.stop() == 0
        row, nodes = service.row(execution_id), service.node_rows(execution_id)
        assert (row["status"], row["owner"], row["recoveries"]) == ("pending", None, 0)
        assert (nodes["long"]["status"], nodes["long"]["attempt"]) == ("cancelled", 1)
        assert service.violations() == []

        service.run_process()
        wait_until(lambda: service.node_rows(execution_id)["long"]["attempt"] == 2)
        if node_type == "http":
            visits.open("gate")
            assert service.wait_ended(execution_id) == ["completed"]
            assert visits.of(execution_id) == {"long": 2}
        else:
            service.http.post(f"/api/executions/{execution_id}/cancel")
            assert service.wait_ended(execution_id) == ["cancelled"]


def test_a_handler_that_suppresses_its_cancellation_does_not_block_the_stop(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path, shutdown_grace_seconds=0.3) as service:
        service.run_process()
        execution_id = service.start(document(node("n", "stubborn")))
        wait_until(lambda: "n" in service.node_rows(execution_id))
        assert service.stop(30) == 0
        row = service.row(execution_id)
        assert (row["status"], row["owner"], row["recoveries"]) == ("pending", None, 0)
        assert service.violations() == []


def test_an_execution_accepted_during_the_stop_is_not_lost(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path, shutdown_grace_seconds=0.3) as service:
        service.run_process()
        workflow_id = service.save(document(visits.node("n")))
        accepted: list[str] = []

        def submit_until_it_is_gone() -> None:
            with suppress(httpx.HTTPError):
                while (response := service.submit(workflow_id)).status_code == 200:
                    accepted.append(response.json()["executionId"])

        client = threading.Thread(target=submit_until_it_is_gone)
        client.start()
        wait_until(lambda: len(accepted) > 20)
        service.ask_to_stop()
        client.join(20)
        assert service.wait_dead() == 0
        rows = service.rows("SELECT * FROM orchestrator_runs")
        assert {(row["owner"], row["recoveries"]) for row in rows} == {(None, 0)}
        assert {row["executionId"] for row in rows} >= set(accepted)
        service.run_process()
        assert set(service.wait_ended(*accepted)) == {"completed"}
        assert service.violations() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_does_not_wait_for_threads(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Leave a thread that is not a daemon and that the interpreter would wait for."""
    with ServiceProcess(tmp_path) as service:
        service.run_process(leave_thread=1)
        service.process.send_signal(number)
        assert service.wait_dead() == 0
        log_text = service.log.read_text()
        assert log_text.index("service_stopped") < log_text.index("exit functions have run")
