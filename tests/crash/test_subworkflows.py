"""SIGKILL around subworkflow calls: each call has one child, and no execution waits forever."""

import asyncio
import random
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.calls import call
from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.service import wait_until


def parent_graph(visits: CallCounter) -> dict:
    return document(
        visits.node("first"),
        call("call", "child"),
        visits.node("last"),
        flow=("first -> call", "call -> last"),
    )


def child_graph(visits: CallCounter, gate: str | None = None) -> dict:
    return document(visits.node("a"), visits.node("b", gate), flow=("a -> b",))


def execution_of(service: ServiceProcess, workflow_id: str) -> str:
    """Wait for the execution of a workflow; return its id."""
    query = "SELECT id FROM workflow_executions WHERE workflowId=?"
    (row,) = wait_until(lambda: service.rows(query, workflow_id))
    return row["id"]


@pytest.mark.parametrize(
    ("point", "called", "completed"),
    [
        ("after_start:call", False, {"first"}),
        ("before_record:call", False, {"first"}),
        ("within_record:call", False, {"first"}),
        ("after_record:call", True, {"first"}),
        ("after_start:a", True, {"first"}),
        ("before_record:b", True, {"first", "a"}),
        ("within_final_write", True, {"first", "a"}),
        ("after_final_write", True, {"first", "a", "b"}),
        ("after_start:last", True, {"first", "a", "b", "call"}),
        ("after_record:last", True, {"first", "a", "b", "call", "last"}),
    ],
)
def test_a_kill_neither_loses_nor_repeats_a_call(
    process: ServiceProcess, visits: CallCounter, point: str, called: bool, completed: set[str]
) -> None:
    process.run_process(kill_at=point)
    process.save(child_graph(visits), "child")
    process.save(parent_graph(visits), "w")
    with suppress(httpx.HTTPError):
        process.submit()
    process.wait_dead()
    assert len(process.rows("SELECT * FROM orchestrator_children")) == int(called)
    done = process.rows("SELECT id FROM execution_logs WHERE status='completed'")
    assert {row["id"].rpartition(":")[2] for row in done} == completed
    assert process.violations(service_runs=False) == []
    visited = visits.counts

    process.run_process()
    parent, child = execution_of(process, "w"), execution_of(process, "child")
    assert process.wait_ended(parent, child) == ["completed", "completed"]
    for row in done:
        assert visits.counts.get(row["id"]) == visited.get(row["id"])
    assert set(visits.counts) == {
        *(f"{parent}:{i}" for i in ("first", "last")),
        *(f"{child}:{i}" for i in "ab"),
    }
    assert process.node_rows(parent)["call"]["childExecutionId"] == child
    assert process.violations() == []


def test_parents_and_children_continue_after_a_kill(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process()
    process.save(child_graph(visits, "gate"), "child")
    parent = process.start(parent_graph(visits))
    child = execution_of(process, "child")
    visits.wait_for(child, "b")
    process.wait_for_status(parent, "waiting")
    process.kill()
    assert process.violations(service_runs=False) == []
    visits.open("gate")
    process.run_process()
    assert process.wait_ended(parent, child) == ["completed", "completed"]
    assert visits.of(parent) == {"first": 1, "last": 1}
    assert visits.of(child) == {"a": 1, "b": 2}
    assert process.row(parent)["recoveries"] == 0  # it did not run during the crash
    assert process.violations() == []


def test_a_child_that_crashes_the_service_fails_its_parent(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path, max_recovery_attempts=2) as service:
        service.run_process()
        service.save(document(node("bad", "kill")), "child")
        service.save(parent_graph(visits), "w")
        with suppress(httpx.HTTPError):
            service.submit()
        service.wait_dead()
        service.start_process()
        service.wait_dead()
        service.run_process()
        parent = execution_of(service, "w")
        assert service.wait_ended(parent) == ["failed"]
        assert "The service went down 2 times" in service.row(parent)["error"]
        assert visits.of(parent) == {"first": 1}
        assert service.violations() == []


def test_cancelling_a_parent_through_another_service_stops_its_child(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path) as owner, ServiceProcess(tmp_path) as other:
        owner.run_process()
        owner.save(child_graph(visits, "never"), "child")
        parent = owner.start(parent_graph(visits))
        child = execution_of(owner, "child")
        visits.wait_for(child, "b")
        owner.wait_for_status(parent, "waiting")
        other.log = tmp_path / "other.log"
        other.run_process()
        assert other.http.post(f"/api/executions/{parent}/cancel").json()["success"]
        assert other.wait_ended(parent, child) == ["cancelled", "cancelled"]
        wait_until(lambda: visits.gone == {f"{child}:b": 1})
        assert other.violations() == []


def test_a_cancellation_during_a_crash_of_the_childs_owner_holds(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process()
    process.save(child_graph(visits, "never"), "child")
    parent = process.start(parent_graph(visits))
    child = execution_of(process, "child")
    visits.wait_for(child, "b")
    process.wait_for_status(parent, "waiting")
    process.freeze()

    async def cancel() -> None:
        database = process.open_database()
        await database.queue.request_cancel(parent)
        await database.close()

    asyncio.run(cancel())
    process.kill()
    assert process.row(parent)["status"] == "cancelled"
    process.run_process()
    assert process.wait_ended(child) == ["cancelled"]
    assert visits.of(child) == {"a": 1, "b": 1}
    assert process.violations() == []


@pytest.mark.timeout(300)
def test_kills_at_random_leave_one_child_for_each_call(tmp_path: Path, visits: CallCounter) -> None:
    parents = 8
    with ServiceProcess(tmp_path, max_recovery_attempts=20, max_concurrent_executions=4) as service:
        service.run_process()
        service.save(child_graph(visits), "grandchild")
        middle = document(visits.node("m"), call("c", "grandchild"), flow=("m -> c",))
        service.save(middle, "child")
        service.save(parent_graph(visits), "w")
        ids = [service.submit().json()["executionId"] for _ in range(parents)]
        for round_ in range(4):
            timer = threading.Event()
            timer.wait(random.Random(round_).uniform(0.05, 0.4))
            service.kill()
            assert service.violations(service_runs=False) == []
            service.run_process()
        assert service.wait_ended(*ids) == ["completed"] * parents
        counts = {
            row["workflowId"]: row["n"]
            for row in service.rows(
                "SELECT workflowId, count(*) AS n FROM workflow_executions"
                " WHERE status='completed' GROUP BY workflowId"
            )
        }
        assert counts == {"w": parents, "child": parents, "grandchild": parents}
        assert len(service.rows("SELECT * FROM workflow_executions")) == 3 * parents
        assert service.violations() == []
