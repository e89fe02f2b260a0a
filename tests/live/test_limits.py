"""Limits of several services: nodes wait for a permit without a thread, and can be cancelled.

The services poll only after ``NEVER``, so that each change is signalled.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.postgres import storage_on
from tests.support.probe_nodes import Gates
from tests.support.service import wait_until
from tests.support.statement_counter import counted_statements
from tests.support.two_services import PairedService

LIMITS: dict[str, Any] = {
    "max_concurrent_nodes_per_type": "gate=2",
    "max_concurrent_nodes_per_key": "printer=1",
    "max_concurrent_executions": 8,
    "database_notifications": True,
}
Services = list[PairedService]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def services(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """Yield one service on SQLite, and two on PostgreSQL."""
    number = 2 if request.param == "postgresql" else 1
    directory: Path = tmp_path_factory.mktemp("limits")
    with storage_on(request) as storage, ExitStack() as stack:
        started = [
            stack.enter_context(PairedService(directory, **LIMITS, **storage))
            for _ in range(number)
        ]
        if number > 1:
            for service in started:
                signal = service.app.state.services.database.commit_signal
                wait_until(lambda one=signal: one.includes_other_processes)
        yield started


def gate(name: str, **config: Any) -> dict[str, Any]:
    return document(node(name, "gate", **config), node("end"), flow=(f"{name} -> end",))


def rows_of(service: PairedService, granted: str) -> int:
    sql = f"SELECT count(*) AS number FROM orchestrator_permits WHERE grantedAt {granted}"
    return service.rows(sql)[0][0]


def test_nodes_of_a_limited_type_take_turns(services: Services, gates: Gates) -> None:
    ids = [services[n % len(services)].start(gate(f"g{n}")) for n in range(4)]
    for ended in range(3):
        wait_until(lambda n=ended: len(gates.runs) == n + 2)
        wait_until(lambda n=ended: rows_of(services[0], "IS NULL") == 2 - n)
        assert rows_of(services[0], "IS NOT NULL") == 2
        threads = {thread.name for thread in threading.enumerate()}
        assert not any(name.startswith("node-handler") for name in threads)
        gates.open(gates.runs[ended])
    gates.open("g0", "g1", "g2", "g3")
    for execution_id in ids:
        assert services[-1].ended(execution_id)["status"] == "completed"
    assert sorted(gates.runs) == ["g0", "g1", "g2", "g3"]
    assert rows_of(services[0], "IS NULL") == rows_of(services[0], "IS NOT NULL") == 0


def test_a_waiting_node_is_cancelled_and_leaves_its_turn(services: Services, gates: Gates) -> None:
    first, last = services[0], services[-1]
    ids = [first.start(gate("k0", concurrencyKey="printer"))]
    gates.wait_for("k0")
    ids += [
        service.start(gate(f"k{n}", concurrencyKey="printer"))
        for n, service in ((1, first), (2, last))
    ]
    wait_until(lambda: rows_of(first, "IS NULL") == 4)  # each waits for the type and the key
    assert last.http.post(f"/api/executions/{ids[1]}/cancel").status_code == 200
    assert first.ended(ids[1])["status"] == "cancelled"
    gates.open("k0")
    gates.wait_for("k2")
    gates.open("k2")
    assert [last.ended(ids[n])["status"] for n in (0, 2)] == ["completed"] * 2
    assert "k1" not in gates.runs


def test_a_key_without_a_setting_is_for_one_node_run_at_a_time(
    services: Services, gates: Gates
) -> None:
    ids = [
        service.start(gate(f"u{n}", concurrencyKey="file-7"))
        for n, service in enumerate((services[0], services[-1]))
    ]
    wait_until(lambda: rows_of(services[0], "IS NULL") == 2)
    assert len(gates.runs) == 1
    gates.open("u0", "u1")
    assert [services[0].ended(i)["status"] for i in ids] == ["completed"] * 2


def test_executions_that_wait_for_a_permit_leave_their_slots(
    services: Services, gates: Gates
) -> None:
    slots = LIMITS["max_concurrent_executions"] * len(services)
    first, last = services[0], services[-1]
    ids = [first.start(gate("s0", concurrencyKey="tool"))]
    gates.wait_for("s0")
    ids += [
        services[n % len(services)].start(gate(f"s{n}", concurrencyKey="tool"))
        for n in range(1, slots + 4)
    ]
    assert last.run(document(node("free")))["status"] == "completed"
    parked = "SELECT executionId FROM execution_logs WHERE status = 'waiting'"
    assert last.rows(parked)
    assert gates.runs == ["s0"]
    (waiting,) = first.rows(f"{parked} LIMIT 1")[0]
    assert first.http.post(f"/api/executions/{waiting}/cancel").status_code == 200
    gates.open(*(f"s{n}" for n in range(len(ids))))
    for execution_id in ids:
        expected = "cancelled" if execution_id == waiting else "completed"
        ended = last.ended(execution_id)
        assert ended["status"] == expected
        (row,) = [log for log in ended["logs"] if log["nodeId"] != "end"]
        assert execution_id == waiting or (row["status"], row["attempt"]) == ("completed", 1)
    assert len(gates.runs) == len(set(gates.runs)) == len(ids) - 1
    assert rows_of(first, "IS NULL") == rows_of(first, "IS NOT NULL") == 0


def test_nodes_without_a_limit_send_no_statement_for_permits(services: Services) -> None:
    with counted_statements() as counted:
        done = services[0].run(document(node("a"), node("b"), flow=("a -> b",)))
    assert done["status"] == "completed"
    sent = [sql for statements in counted.transactions for sql in statements]
    assert sent
    assert [sql for sql in sent if "orchestrator_permits" in sql] == []
