"""Leases: two services on one database, and each execution has one owner at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import LEASE_SECONDS, ServiceProcess
from tests.support.documents import document
from tests.support.postgres import Storage, on_both
from tests.support.service import wait_until


@pytest.fixture
def pair(tmp_path: Path, storage: Storage) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Start two services on one database."""
    with (
        ServiceProcess(tmp_path, **storage) as first,
        ServiceProcess(tmp_path, **storage) as second,
    ):
        second.log = tmp_path / "second.log"
        first.run_process()
        second.run_process()
        yield first, second


def held(service: ServiceProcess, visits: CallCounter) -> str:
    """Start an execution in this service; its node ``b`` waits."""
    nodes = [visits.node("a"), visits.node("b", "gate"), visits.node("c")]
    workflow_id = service.save(document(*nodes, flow=("a -> b", "b -> c")))
    claims = len(service.events("execution_claimed"))
    while True:
        execution_id = service.submit(workflow_id).json()["executionId"]
        visits.wait_for(execution_id, "b")
        if len(service.events("execution_claimed")) > claims:
            return execution_id
        service.http.post(f"/api/executions/{execution_id}/cancel")


@on_both()
def test_a_service_takes_over_executions_of_a_crashed_one(
    pair: tuple[ServiceProcess, ServiceProcess], visits: CallCounter
) -> None:
    first, second = pair
    execution_id = held(first, visits)
    owner = first.row(execution_id)["owner"]
    first.kill()
    wait_until(lambda: second.row(execution_id)["owner"] not in (None, owner))
    visits.wait_for(execution_id, "b", 2)
    visits.open("gate")
    assert second.wait_ended(execution_id) == ["completed"]
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}
    assert second.violations() == []
    assert "workflow_execution_recoveries_total 1.0" in second.http.get("/metrics").text


def test_a_service_without_a_free_slot_requeues_executions_of_a_crashed_one(
    tmp_path: Path, visits: CallCounter
) -> None:
    with (
        ServiceProcess(tmp_path, max_concurrent_executions=1) as first,
        ServiceProcess(tmp_path, max_concurrent_executions=1) as second,
    ):
        first.run_process()
        left = first.start(document(visits.node("n", "gate")))
        visits.wait_for(left, "n")
        second.run_process()
        busy = second.start(document(visits.node("busy", "busy gate")))
        visits.wait_for(busy, "busy")
        first.kill()
        second.wait_for_status(left, "pending")
        assert second.node_rows(left)["n"]["status"] == "cancelled"
        assert second.poll(left)["queuePosition"] == 1
        assert second.violations() == []
        visits.open("gate", "busy gate")
        assert second.wait_ended(left, busy) == ["completed"] * 2
        assert (visits.of(left), visits.of(busy)) == ({"n": 2}, {"busy": 1})


def test_a_service_frozen_past_its_lease_writes_nothing(
    pair: tuple[ServiceProcess, ServiceProcess], visits: CallCounter
) -> None:
    first, second = pair
    execution_id = held(first, visits)
    owner = first.row(execution_id)["owner"]
    first.freeze()
    wait_until(lambda: second.row(execution_id)["owner"] not in (None, owner))
    visits.wait_for(execution_id, "b", 2)
    visits.open("gate")
    assert second.wait_ended(execution_id) == ["completed"]
    row, nodes = second.row(execution_id), second.node_rows(execution_id)

    first.thaw()  # its call of ``b`` returns now, and must not be recorded
    wait_until(lambda: [e["execution_id"] for e in first.events("lease_lost")] == [execution_id])
    first.wait_ready()
    assert (second.row(execution_id), second.node_rows(execution_id)) == (row, nodes)
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}
    # It still runs new executions.
    again = held(first, visits)
    assert first.wait_ended(again) == ["completed"]
    assert first.violations() == []


def test_a_thawed_service_does_not_interfere_with_the_new_owner(
    pair: tuple[ServiceProcess, ServiceProcess], visits: CallCounter
) -> None:
    first, second = pair
    execution_id = held(first, visits)
    first.freeze()
    visits.wait_for(execution_id, "b", 2)
    row, nodes = second.row(execution_id), second.node_rows(execution_id)
    first.thaw()
    wait_until(lambda: first.events("lease_lost"))
    now = second.row(execution_id)
    assert (now["owner"], now["seq"], now["status"]) == (row["owner"], row["seq"], "running")
    assert second.node_rows(execution_id) == nodes
    visits.open("gate")
    assert second.wait_ended(execution_id) == ["completed"]
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}


def test_a_late_write_is_rejected_while_the_new_owner_continues(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path) as first, ServiceProcess(tmp_path) as second:
        # Only the guard of its writes can detect that the lease of the first service expired.
        first.run_process(no_heartbeat=True)
        late, held_up = visits.node("late", "gate"), visits.node("next", "next gate")
        execution_id = first.start(document(late, held_up, flow=("late -> next",)))
        visits.wait_for(execution_id, "late")
        second.log = tmp_path / "second.log"
        second.run_process()
        visits.wait_for(execution_id, "late", 2)
        owner = second.row(execution_id)["owner"]
        visits.open("gate")  # both calls return, and both services would continue
        visits.wait_for(execution_id, "next")
        wait_until(lambda: first.events("lease_lost"))
        row, nodes = second.row(execution_id), second.node_rows(execution_id)
        assert (row["owner"], row["status"]) == (owner, "running")
        assert {i: n["status"] for i, n in nodes.items()} == {
            "late": "completed",
            "next": "running",
        }
        assert {i: n["attempt"] for i, n in nodes.items()} == {"late": 2, "next": 1}
        visits.open("next gate")
        assert second.wait_ended(execution_id) == ["completed"]
        assert visits.of(execution_id) == {"late": 2, "next": 1}
        assert second.violations() == []


def test_a_freeze_shorter_than_the_lease_has_no_effect(tmp_path: Path, visits: CallCounter) -> None:
    with ServiceProcess(tmp_path, lease_seconds=30 * LEASE_SECONDS) as service:
        service.run_process()
        execution_id = service.start(document(visits.node("b", "gate")))
        visits.wait_for(execution_id, "b")
        owner = service.row(execution_id)["owner"]
        service.freeze()
        visits.open("gate")
        service.thaw()
        assert service.wait_ended(execution_id) == ["completed"]
        assert (visits.of(execution_id), owner is not None) == ({"b": 1}, True)


def test_two_services_share_the_work_and_do_nothing_twice(
    pair: tuple[ServiceProcess, ServiceProcess], visits: CallCounter
) -> None:
    first, second = pair
    graph = document(visits.node("a"), visits.node("b"), flow=("a -> b",))
    workflow_id = first.save(graph)
    ids = [
        service.submit(workflow_id).json()["executionId"]
        for _ in range(15)
        for service in (first, second)
    ]
    assert first.wait_ended(*ids) == ["completed"] * 30
    assert set(visits.counts.values()) == {1}
    assert len(visits.counts) == 60
    assert first.events("execution_claimed")
    assert second.events("execution_claimed")
    assert first.violations() == []
