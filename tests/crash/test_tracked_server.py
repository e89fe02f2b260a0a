"""A Prefect server: it may be unavailable, and it shows crashes of the service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document
from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.service import wait_until

pytestmark = [pytest.mark.prefect_server, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start a Prefect server for these tests."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server")) as running:
        yield running


@pytest.fixture
def service(tmp_path: Path, server: PrefectServer) -> Iterator[ServiceProcess]:
    """Return a service that uses this server."""
    with ServiceProcess(tmp_path, prefect_api_url=server.api_url) as tracked:
        yield tracked.run_process()


def graph(visits: CallCounter) -> dict:
    nodes = [visits.node("a"), visits.node("b", "gate"), visits.node("c")]
    return document(*nodes, flow=("a -> b", "b -> c"))


def test_executions_continue_without_the_prefect_server(
    server: PrefectServer, service: ServiceProcess, visits: CallCounter
) -> None:
    ids = [service.start(graph(visits)) for _ in range(3)]
    for execution_id in ids:
        visits.wait_for(execution_id, "b")
    server.stop()
    visits.open("gate")
    assert service.wait_ended(*ids, seconds=90) == ["completed"] * 3
    assert [visits.of(i) for i in ids] == [{"a": 1, "b": 1, "c": 1}] * 3
    # New executions wait until the server is available.
    late = service.start(graph(visits))
    assert visits.of(late) == {}
    server.start()
    assert service.wait_ended(late, seconds=90) == ["completed"]
    assert visits.of(late) == {"a": 1, "b": 1, "c": 1}
    assert service.row(late)["recoveries"] == 0
    assert service.violations() == []


def test_after_a_kill_the_stale_flow_run_is_crashed_and_the_new_one_is_linked(
    server: PrefectServer, service: ServiceProcess, visits: CallCounter
) -> None:
    execution_id = service.start(graph(visits))
    visits.wait_for(execution_id, "b")
    stale = service.row(execution_id)["flowRunId"]
    assert server.state_of(stale) == "Running"
    service.kill()
    service.run_process()
    visits.wait_for(execution_id, "b", 2)
    fresh = service.row(execution_id)["flowRunId"]
    assert fresh != stale
    assert server.state_of(stale) == "Crashed"
    assert server.state_of(fresh) == "Running"
    visits.open("gate")
    assert service.wait_ended(execution_id) == ["completed"]
    wait_until(lambda: server.state_of(fresh) == "Completed")
    assert server.state_of(stale) == "Crashed"
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}


def test_a_graceful_stop_ends_the_flow_run_and_it_stays_as_it_ended(
    server: PrefectServer, service: ServiceProcess, visits: CallCounter
) -> None:
    execution_id = service.start(graph(visits))
    visits.wait_for(execution_id, "b")
    given_back = service.row(execution_id)["flowRunId"]
    assert service.stop(40) == 0
    assert server.state_of(given_back) == "Cancelled"
    service.run_process()
    visits.open("gate")
    assert service.wait_ended(execution_id) == ["completed"]
    assert server.state_of(given_back) == "Cancelled"
