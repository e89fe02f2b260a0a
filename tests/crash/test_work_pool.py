"""A work pool: workers without an API run executions, and each failure is repaired."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, line
from tests.support.pool_workers import POOL, PoolWorker, pool_workers
from tests.support.postgres import new_postgres_database
from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.prepared_databases import DEFAULT_EXAMPLES
from tests.support.service import wait_until
from tests.support.trace_receiver import TraceReceiver, receiving

pytestmark = [pytest.mark.prefect_server, pytest.mark.timeout(240)]

MOST = 90.0
"""Timeout for executions, in seconds; Prefect's server is slow on a busy machine."""

LEASE_SECONDS = 5.0
"""Duration of leases, in seconds, longer than in other tests, because more processes share the
processor."""

Pool = dict[str, Any]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start a Prefect server for these tests."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server")) as running:
        yield running


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[TraceReceiver]:
    """Yield the collector of all processes that start from now on."""
    with receiving() as running:
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def pool(server: PrefectServer) -> Iterator[Pool]:
    """Return the settings of a service and its workers, with a database on PostgreSQL."""
    with asyncio.Runner() as runner:
        database = new_postgres_database(DEFAULT_EXAMPLES)
        url = runner.run(database.__aenter__())
        try:
            yield {
                "database_url": url,
                "prefect_api_url": server.api_url,
                "prefect_work_pool": POOL,
                "execution_mode": "workpool",
                "lease_seconds": LEASE_SECONDS,
            }
        finally:
            runner.run(database.__aexit__(None, None, None))


@pytest.fixture
def service(tmp_path: Path, pool: Pool) -> Iterator[ServiceProcess]:
    """Return a service that submits executions to the pool."""
    with ServiceProcess(tmp_path, **pool) as running:
        yield running.run_process()


def graph(visits: CallCounter) -> dict[str, Any]:
    nodes = [visits.node("a"), visits.node("b", "gate"), visits.node("c")]
    return document(*nodes, flow=("a -> b", "b -> c"))


def runs_of(server: PrefectServer, execution_id: str) -> list[dict[str, Any]]:
    return [
        run for run in server.flow_runs() if run["parameters"] == {"execution_id": execution_id}
    ]


def test_workers_run_the_executions_and_the_service_runs_none(
    tmp_path: Path, server: PrefectServer, service: ServiceProcess, pool: Pool
):
    with pool_workers(tmp_path, "one", "two", **pool) as workers:
        ids = [service.start(line(4)) for _ in range(6)]
        assert service.wait_ended(*ids, seconds=MOST) == ["completed"] * 6
        claims = [w.events("execution_claimed") for w in workers]
        assert sorted(e["execution_id"] for events in claims for e in events) == sorted(ids)
        assert service.events("execution_claimed") == []
        for execution_id in ids:
            # A busy machine may start a run too late; another one has replaced it then.
            attempt, run = [*enumerate(runs_of(server, execution_id), 1)][-1]
            assert run["idempotency_key"] == f"{execution_id}:{attempt}"
            assert run["work_pool_name"] == POOL
            assert service.row(execution_id)["flowRunId"] == run["id"]
            wait_until(lambda: server.state_of(run["id"]) == "Completed")  # noqa: B023
    assert service.violations() == []


def test_the_trace_of_a_request_continues_in_a_worker(
    collector: TraceReceiver, tmp_path: Path, service: ServiceProcess, pool: Pool
):
    with pool_workers(tmp_path, "one", **pool):
        body, headers = {"graph": line(3)}, {"traceparent": CALLER}
        started = service.http.post("/api/workflows/execute", json=body, headers=headers)
        execution_id = started.json()["executionId"]
        assert service.wait_ended(execution_id, seconds=MOST) == ["completed"]
        of_it = {"workflow_execution_id": execution_id}
        root = collector.one(started.json()["workflowName"], **of_it)
        run = collector.one("run", **of_it)
        nodes = [collector.one(name, **of_it) for name in ("trigger start", "addField n0")]
    assert (root.trace_id, root.parent_id) == tuple(CALLER.split("-")[1:3])
    assert run.parent_id == root.span_id
    assert {node.parent_id for node in nodes} == {run.span_id}
    assert {span.trace_id for span in (run, *nodes)} == {root.trace_id}


def test_another_worker_takes_over_the_executions_of_a_killed_one(
    tmp_path: Path, server: PrefectServer, service: ServiceProcess, pool: Pool, visits: CallCounter
):
    with pool_workers(tmp_path, "victim", **pool) as (victim,):
        ids = [service.start(graph(visits)) for _ in range(3)]
        for execution_id in ids:
            visits.wait_for(execution_id, "b")
        stale = {i: service.row(i)["flowRunId"] for i in ids}
        victim.kill()
        with pool_workers(tmp_path, "heir", **pool) as (heir,):
            for execution_id in ids:
                visits.wait_for(execution_id, "b", 2)
            visits.open("gate")
            assert service.wait_ended(*ids, seconds=MOST) == ["completed"] * 3
            assert {e["execution_id"] for e in heir.events("execution_claimed")} == set(ids)
    assert [visits.of(i) for i in ids] == [{"a": 1, "b": 2, "c": 1}] * 3
    for execution_id in ids:
        assert service.row(execution_id)["flowRunId"] != stale[execution_id]
        wait_until(lambda: server.state_of(stale[execution_id]) == "Crashed")  # noqa: B023
    assert service.violations() == []


def test_a_stopped_worker_returns_its_executions(
    tmp_path: Path, service: ServiceProcess, pool: Pool, visits: CallCounter
):
    settings = {**pool, "shutdown_grace_seconds": 0, "lease_seconds": 60}
    with pool_workers(tmp_path, "first", **settings) as (first,):
        execution_id = service.start(graph(visits))
        visits.wait_for(execution_id, "b")
        assert first.stop() == 0
        assert first.events("execution_released")
        assert service.row(execution_id)["status"] == "pending"
        with pool_workers(tmp_path, "second", **settings):
            visits.open("gate")
            assert service.wait_ended(execution_id, seconds=MOST) == ["completed"]
    assert service.row(execution_id)["recoveries"] == 0
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}


def test_nothing_is_lost_while_the_prefect_server_is_down(
    tmp_path: Path, server: PrefectServer, service: ServiceProcess, pool: Pool, visits: CallCounter
):
    with pool_workers(tmp_path, "one", **pool):
        running = service.start(graph(visits))
        visits.wait_for(running, "b")
        server.stop()
        late = [service.start(line(3)) for _ in range(3)]
        visits.open("gate")
        assert service.wait_ended(running, seconds=MOST) == ["completed"]
        wait_until(lambda: service.events("dispatch_failed"))
        assert [service.row(i)["status"] for i in late] == ["pending"] * 3
        server.start()
        assert service.wait_ended(*late, seconds=MOST) == ["completed"] * 3
    assert visits.of(running) == {"a": 1, "b": 1, "c": 1}
    assert [service.row(i)["recoveries"] for i in (running, *late)] == [0] * 4
    assert service.violations() == []


def test_a_flow_run_that_was_lost_before_the_claim_is_replaced(
    tmp_path: Path, server: PrefectServer, service: ServiceProcess, pool: Pool
):
    lost, ended = (service.start(line(3)) for _ in range(2))
    for execution_id, state in ((lost, "Pending"), (ended, "Cancelled")):
        wait_until(lambda: runs_of(server, execution_id))  # noqa: B023
        server.set_state(runs_of(server, execution_id)[0]["id"], state)
    with pool_workers(tmp_path, "one", **pool):
        assert service.wait_ended(lost, ended, seconds=MOST) == ["completed"] * 2
    for execution_id, state in ((lost, "Crashed"), (ended, "Cancelled")):
        first, second, *_ = runs_of(server, execution_id)
        assert first["state_name"] == state
        assert second["idempotency_key"] == f"{execution_id}:2"


def test_the_process_worker_of_prefect_runs_the_same_deployment(
    tmp_path: Path, server: PrefectServer, service: ServiceProcess, pool: Pool, visits: CallCounter
):
    worker = PoolWorker(tmp_path, "stock", prefect_worker_query_seconds=1, **pool)
    worker.run_stock_worker()
    try:
        execution_id = service.start(graph(visits))
        visits.open("gate")
        assert service.wait_ended(execution_id, seconds=MOST) == ["completed"]
        run_id = service.row(execution_id)["flowRunId"]
        wait_until(lambda: server.state_of(run_id) == "Completed")
    finally:
        worker.kill()
    assert visits.of(execution_id) == {"a": 1, "b": 1, "c": 1}
    assert service.violations() == []
