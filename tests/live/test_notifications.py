"""Notifications between services on PostgreSQL: a change of one service reaches the other at once.

The services poll only after ``NEVER``, which is longer than each wait of these tests.
"""

from collections.abc import Iterator

import pytest

from tests.support.documents import document, node
from tests.support.postgres import storage_on
from tests.support.probe_nodes import Gates
from tests.support.service import wait_until
from tests.support.statements import recorded_statements
from tests.support.stream_clients import seqs, sse
from tests.support.two_services import PairedService, ServicePair, two_services

GATED = document(node("gate", "gate"), node("end"), flow=("gate -> end",))
ASKS_WHILE_RUNNING = document(
    node("start", "trigger"),
    node("ask", "approval"),
    node("gate", "gate"),
    node("after"),
    flow=("start -> ask", "start -> gate", "ask -true-> after"),
)
LISTENERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'workflow-notifications'
"""


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServicePair]:
    """Two services on PostgreSQL that notify each other. Each runs one execution at a time."""
    request.param = "postgresql"
    with (
        storage_on(request) as settings,
        two_services(
            tmp_path_factory.mktemp("pair"), database_notifications=True, **settings
        ) as services,
    ):
        for service in services:
            wait_until(lambda one=service: is_notified(one))
        yield services


def is_notified(service: PairedService) -> bool:
    return service.app.state.services.database.commit_signal.includes_other_processes


def test_new_work_reaches_a_service_with_a_free_slot(pair: ServicePair, gates: Gates) -> None:
    first, second = pair
    blocking = first.start(GATED)
    gates.wait_for("gate")
    busy, free = (first, second) if first.is_running_execution(blocking) else (second, first)
    execution_id = busy.start(document(node("other", "gate"), node("end"), flow=("other -> end",)))
    gates.wait_for("other")
    assert free.is_running_execution(execution_id)
    gates.open("other", "gate")
    assert free.ended(execution_id)["status"] == busy.ended(blocking)["status"] == "completed"


def owner_and_other(pair: ServicePair, execution_id: str) -> tuple[PairedService, PairedService]:
    first, second = pair
    return (first, second) if first.is_running_execution(execution_id) else (second, first)


def test_a_cancellation_reaches_the_owner(pair: ServicePair, gates: Gates) -> None:
    execution_id = pair[0].start(GATED)
    gates.wait_for("gate")
    _, other = owner_and_other(pair, execution_id)
    assert other.http.post(f"/api/executions/{execution_id}/cancel").status_code == 200
    assert other.ended(execution_id)["status"] == "cancelled"
    assert gates.left == ["gate"]


def test_an_approval_reaches_the_running_execution(pair: ServicePair, gates: Gates) -> None:
    execution_id = pair[0].start(ASKS_WHILE_RUNNING)
    gates.wait_for("gate")
    _, other = owner_and_other(pair, execution_id)
    wait_until(lambda: other.logs(execution_id).get("ask", {}).get("status") == "waiting")
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    other.http.post(path, json={"approved": True}).raise_for_status()
    wait_until(lambda: other.logs(execution_id).get("after", {}).get("status") == "completed")
    gates.open("gate")
    assert other.ended(execution_id)["status"] == "completed"


def test_events_reach_the_clients_of_the_other_service(pair: ServicePair, gates: Gates) -> None:
    execution_id = pair[0].start(GATED)
    gates.wait_for("gate")
    _, other = owner_and_other(pair, execution_id)
    seq = other.poll(execution_id)["seq"]
    with sse(other, f"/api/executions/{execution_id}/stream") as events:
        assert next(events).data["seq"] == seq
        gates.open("gate")
        changed = other.http.get(f"/api/executions/{execution_id}", params={"waitSeq": seq})
        assert changed.json()["seq"] > seq
        rest = list(events)
    assert seqs(rest) == list(range(seq + 1, other.ended(execution_id)["seq"] + 1))
    assert rest[-1].type == "execution_complete"


@pytest.mark.parametrize("seconds", [0.5, 1.5])  # MAX_TIMER_DELAY_SECONDS is 1
def test_a_timer_does_not_wait_for_the_poll_interval(pair: ServicePair, seconds: float) -> None:
    timed = document(node("wait", "wait", waitSeconds=seconds), node("end"), flow=("wait -> end",))
    execution_id = pair[0].start(timed)
    assert pair[1].ended(execution_id)["status"] == "completed"


def test_lost_connections_are_opened_again(pair: ServicePair, gates: Gates) -> None:
    for _ in range(2):
        execution_id = pair[0].start(GATED)
        gates.wait_for("gate")
        wait_until(lambda: len(pair[0].rows(LISTENERS)) == 2)
        _, other = owner_and_other(pair, execution_id)
        # It is stored while the owner has no connection, or after it has opened a new one.
        other.http.post(f"/api/executions/{execution_id}/cancel").raise_for_status()
        assert other.ended(execution_id)["status"] == "cancelled"
    for service in pair:
        wait_until(lambda one=service: is_notified(one))


def test_idle_services_with_streams_send_no_queries_for_changes(
    pair: ServicePair, gates: Gates
) -> None:
    execution_id = pair[0].start(GATED)
    gates.wait_for("gate")
    with sse(pair[0], "/api/events") as one, sse(pair[1], "/api/events") as two:
        assert next(one).data["seq"] == next(two).data["seq"]
        with recorded_statements() as statements:
            sql = "FROM orchestrator_idempotency_keys"  # of each round of the maintenance
            wait_until(lambda: sum(sql in s.sql for s in statements) >= 4)
        sent = [s.sql for s in statements]
        assert [sql for sql in sent if "AS abandoned" in sql] == []  # searches for work
        reads = [sql for sql in sent if "FROM orchestrator_events" in sql]
        assert [sql for sql in reads if "max(orchestrator_events.position)" not in sql] == []
        assert sum("min(orchestrator_runs" in sql for sql in sent) <= len(pair)
        gates.open("gate")
        ended = pair[0].ended(execution_id)["seq"]
        for events in (one, two):
            while next(events).data["seq"] < ended:
                pass
