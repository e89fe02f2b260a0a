"""Pure nodes: they are recorded together with the nodes after them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.execution import deferred_steps
from tasks.config.base import NodeConfig
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import DEFAULT, NodeTypes
from tests.support.documents import document, line, node
from tests.support.postgres import Storage, on_both
from tests.support.postgres_requests import counted_requests
from tests.support.probe_nodes import Gates, handle_gate, handle_raise
from tests.support.service import RunningService, wait_until
from tests.support.statement_counter import counted_statements

SQLITE_STATEMENTS = 20
POSTGRES_STATEMENTS = 24
"""Statements of the three transactions; PostgreSQL's include those that take locks."""
MAX_TRANSACTIONS = 20
"""Maximum number of PostgreSQL's transactions for a request that waits for an execution."""
MAX_RESPONSES = 56
"""Maximum number of responses of the server for which the service waits in these transactions."""


class PureConfig(NodeConfig, pure=True):
    """Config of a handler without effects."""


TYPES = NodeTypes(
    {
        **NODE_HANDLERS,
        "gate": handle_gate,
        "pureGate": handle_gate,
        "pureRaise": handle_raise,
    },
    {**NODE_CONFIGS, "pureGate": PureConfig, "pureRaise": PureConfig},
)


@pytest.fixture
def patient_service(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningService]:
    """A service whose deferred steps wait for another step, on a machine of any speed."""
    monkeypatch.setattr(deferred_steps, "MAX_STEP_DELAY_SECONDS", 60.0)
    with RunningService(tmp_path, TYPES, lease_seconds=600, **storage) as service:
        yield service


@on_both()
def test_ten_pure_nodes_take_three_write_transactions(
    patient_service: RunningService, storage: Storage
) -> None:
    patient_service.save(line(10))
    patient_service.run(line(10))  # the first one also creates the rows that all executions share
    with counted_statements() as counted:
        patient_service.run(line(10))
    # The submission, the claim, and the end with all nodes.
    assert len(counted.writing) == 3
    most = POSTGRES_STATEMENTS if storage else SQLITE_STATEMENTS
    assert sum(len(statements) for statements in counted.writing) <= most


@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
def test_executions_on_postgresql_need_few_transactions(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_steps, "MAX_STEP_DELAY_SECONDS", 60.0)
    rare = {"lease_seconds": 600, "poll_interval_seconds": 60}
    with (
        counted_requests(storage["database_url"]) as (counted, url),
        RunningService(tmp_path, TYPES, database_url=url, **rare) as service,
        ThreadPoolExecutor(10) as clients,
    ):
        service.save(line(10))

        def run(_: int) -> str:
            body, waiting = {"workflowId": "w"}, {"Prefer": "wait=60"}
            answer = service.http.post("/api/workflows/execute", json=body, headers=waiting)
            return answer.json()["status"]

        assert run(0) == "completed"  # the first one creates the rows that all executions share
        for count in (1, 10):
            counted.clear()
            assert list(clients.map(run, range(count))) == ["completed"] * count
            print(count, counted)
            assert counted.transactions <= MAX_TRANSACTIONS * count
            assert counted.responses <= MAX_RESPONSES * count


@on_both()
def test_the_events_of_pure_nodes_are_the_same(patient_service: RunningService) -> None:
    execution_id = patient_service.run(line(3))["executionId"]
    events = patient_service.rows(
        'SELECT seq, "nodeId", "nodeStatus", attempt, status, "currentNodeId", "completedNodes"'
        ' FROM orchestrator_events WHERE "executionId" = ? AND "nodeId" IS NOT NULL ORDER BY seq',
        execution_id,
    )
    assert [tuple(event) for event in events] == [
        (3, "start", "running", 1, "running", "start", 0),
        (4, "start", "completed", 1, "running", "n0", 1),
        (5, "n0", "running", 1, "running", "n0", 1),
        (6, "n0", "completed", 1, "running", "end", 2),
        (7, "end", "running", 1, "running", "end", 2),
        (8, "end", "completed", 1, "running", None, 3),
    ]
    logs = patient_service.logs(execution_id)
    assert [log["seq"] for log in logs.values()] == [4, 6, 8]
    assert all(log["startedAt"] <= log["endedAt"] for log in logs.values())


def test_a_slow_pure_node_is_visible_while_it_runs(tmp_path: Path, gates: Gates) -> None:
    with RunningService(tmp_path, TYPES) as service:
        execution_id = service.start(document(node("slow", "pureGate")))
        gates.wait_for("slow")
        wait_until(lambda: service.logs(execution_id))
        assert service.logs(execution_id)["slow"]["status"] == "running"
        assert service.poll(execution_id)["currentNodeId"] == "slow"
        gates.open("slow")
        assert service.ended(execution_id)["status"] == "completed"


def test_pure_nodes_are_recorded_before_a_node_with_effects_starts(
    patient_service: RunningService, gates: Gates
) -> None:
    graph = document(node("a", "trigger"), node("b", "gate"), flow=("a -> b",))
    execution_id = patient_service.start(graph)
    gates.wait_for("b")
    logs = patient_service.logs(execution_id)
    assert {i: log["status"] for i, log in logs.items()} == {"a": "completed", "b": "running"}


def test_a_pure_node_that_parks_has_an_event_for_its_start_and_one_for_its_wait(
    patient_service: RunningService, gates: Gates
) -> None:
    bad = node("bad", "pureRaise", retries=1, retryDelaySeconds=600)
    execution_id = patient_service.start(document(node("a", "trigger"), bad, flow=("a -> bad",)))
    wait_until(lambda: patient_service.poll(execution_id)["status"] == "waiting")
    rows = patient_service.rows(
        "SELECT nodeStatus FROM orchestrator_events WHERE executionId = ? AND nodeId = 'bad'"
        " ORDER BY seq",
        execution_id,
    )
    assert [row["nodeStatus"] for row in rows] == ["running", "waiting"]


def test_executions_with_long_pure_nodes_run_at_the_same_time(tmp_path: Path, gates: Gates) -> None:
    with RunningService(tmp_path, TYPES) as service:
        names = [f"gate {i}" for i in range(4)]
        executions = [service.start(document(node("n", "pureGate", gate=name))) for name in names]
        gates.wait_for(*names)
        gates.open(*names)
        assert {service.ended(i)["status"] for i in executions} == {"completed"}


def test_a_cancellation_stops_an_execution_with_deferred_steps(
    patient_service: RunningService, gates: Gates
) -> None:
    first = patient_service.start(document(node("n", "pureGate", gate="first")))
    gates.wait_for("first")
    waiting = patient_service.start(document(node("n", "pureGate", gate="second")))
    wait_until(lambda: patient_service.poll(waiting)["status"] == "running")
    for execution_id in (waiting, first):
        patient_service.http.post(f"/api/executions/{execution_id}/cancel")
        assert patient_service.ended(execution_id)["status"] == "cancelled"
    assert patient_service.logs(first)["n"]["status"] == "cancelled"
    assert {log["status"] for log in patient_service.logs(waiting).values()} <= {"cancelled"}


def test_a_type_is_pure_only_if_its_own_config_declares_it() -> None:
    class Inherits(PureConfig):
        """A config for another handler."""

    types = NodeTypes(NODE_HANDLERS, {"declared": PureConfig, "inherits": Inherits})
    assert types.is_pure("declared")
    assert not types.is_pure("inherits")
    assert not types.is_pure("customNode")
    assert DEFAULT.is_pure("addField")
    assert not DEFAULT.is_pure("http")
