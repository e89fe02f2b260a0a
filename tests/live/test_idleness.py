"""Idleness: while nothing happens, a service uses no CPU, reads nothing and sends nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.execution.signals import ExecutionSignals
from tests.support.documents import document, node
from tests.support.probe_nodes import Gates
from tests.support.service import wait_until
from tests.support.statements import recorded_statements
from tests.support.stream_clients import receive, sse, subscribe, websocket
from tests.support.two_services import PairedService

BUSY_CPU_SECONDS = 0.3
MAX_CPU_RATIO = 0.4
"""Maximum CPU time of an idle worker, as a ratio to that of a busy thread at the same time."""

WAITS = document(node("gate", "sync"), node("end"), flow=("gate -> end",))
"""Its handler waits in a thread, so that nothing but the executor can use the worker's loop."""


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PairedService]:
    """Run one service that polls only when a test requests it."""
    directory: Path = tmp_path_factory.mktemp("polled")
    with PairedService(directory) as service:
        yield service


@dataclass(slots=True)
class Signals:
    """How often executors were notified, and how often they stopped waiting for it."""

    notified: int = 0
    woken: int = 0


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Signals:
    """Count the signals of all executions."""
    counts = Signals()
    notify, wait = ExecutionSignals.notify_resumed, ExecutionSignals.wait_for_signal

    def counted_notify(own: ExecutionSignals) -> None:
        counts.notified += 1
        notify(own)

    async def counted_wait(own: ExecutionSignals) -> None:
        await wait(own)
        counts.woken += 1

    monkeypatch.setattr(ExecutionSignals, "notify_resumed", counted_notify)
    monkeypatch.setattr(ExecutionSignals, "wait_for_signal", counted_wait)
    return counts


def cpu_ratio(service: PairedService) -> float:
    """Return the CPU time of the worker's thread, as a ratio to that of this busy thread."""
    busy, idle = time.thread_time(), service.cpu_seconds()
    while time.thread_time() < busy + BUSY_CPU_SECONDS:
        pass
    return (service.cpu_seconds() - idle) / BUSY_CPU_SECONDS


def test_a_waiting_node_uses_no_cpu_and_each_poll_wakes_its_executor_once(
    polled: PairedService, gates: Gates, signals: Signals
) -> None:
    execution_id = polled.start(WAITS)
    gates.wait_for("gate")
    for _ in range(3):
        before = signals.woken
        polled.pass_interval()
        wait_until(lambda count=before: signals.woken > count)
    assert cpu_ratio(polled) < MAX_CPU_RATIO
    assert 3 <= signals.woken <= signals.notified
    gates.open("gate")
    assert polled.ended(execution_id)["status"] == "completed"


def test_a_parked_execution_uses_no_cpu(polled: PairedService) -> None:
    execution_id = polled.start(document(node("ask", "approval")))
    wait_until(lambda: polled.poll(execution_id)["status"] == "waiting")
    for _ in range(3):
        polled.pass_interval()
    assert cpu_ratio(polled) < MAX_CPU_RATIO
    assert not polled.is_running_execution(execution_id)
    polled.http.post(f"/api/executions/{execution_id}/cancel").raise_for_status()


def test_open_streams_cause_no_queries_and_no_messages(polled: PairedService, gates: Gates) -> None:
    execution_id = polled.start(WAITS)
    gates.wait_for("gate")
    single_path = f"/api/executions/{execution_id}/stream"
    with (
        sse(polled, single_path) as single,
        sse(polled, "/api/events") as every,
        websocket(polled) as client,
    ):
        subscribe(client, executionId=execution_id)
        snapshots = [next(single).data, next(every).data, receive(client)]
        assert {snapshot["seq"] for snapshot in snapshots} == {snapshots[0]["seq"]}
        with recorded_statements() as statements:
            assert cpu_ratio(polled) < MAX_CPU_RATIO
        reads = [s.sql for s in statements if "FROM orchestrator_events" in s.sql]
        # The maintenance reads the newest position once in an interval.
        assert [sql for sql in reads if "max(orchestrator_events.position)" not in sql] == []
        changes = [s.sql for s in statements if s.writes and not s.sql.startswith("BEGIN")]
        assert [sql for sql in changes if "orchestrator_runs SET" not in sql] == []  # heartbeats
        gates.open("gate")
        rest = list(single)
        # The next message of each client is the next change.
        assert rest[0].data["seq"] == snapshots[0]["seq"] + 1
        assert [receive(client) for _ in rest] == [event.data for event in rest]
        assert [next(every).data for _ in rest] == [event.data for event in rest]
        assert rest[-1].type == "execution_complete"


def test_nothing_is_sent_about_an_execution_after_its_terminal_event(
    polled: PairedService,
) -> None:
    with sse(polled, "/api/events") as every:
        first = polled.run(document(node("end")))["executionId"]
        for request in ("cancel", "nodes/end/resume"):
            polled.http.post(f"/api/executions/{first}/{request}", json={})
        polled.pass_interval()
        marker = polled.run_marker()
        seen = [next(every).data]
        while (seen[-1]["executionId"], seen[-1]["type"]) != (marker, "execution_complete"):
            seen.append(next(every).data)
    of_first = [event for event in seen if event["executionId"] == first]
    assert [event["seq"] for event in of_first] == list(range(1, len(of_first) + 1))
    assert [event["type"] for event in of_first].index("execution_complete") == len(of_first) - 1
    assert seen[: len(of_first)] == of_first
