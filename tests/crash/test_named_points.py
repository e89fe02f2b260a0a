"""SIGKILL at the points where a crash could lose or repeat something."""

from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document

pytestmark = pytest.mark.behavior


def graph(visits: CallCounter) -> dict:
    """Return ``a``, ``b``, ``c``, and ``beside``, which waits at its gate while they run."""
    nodes = [visits.node(i) for i in "abc"]
    return document(
        *nodes,
        visits.node("beside", "side gate"),
        visits.node("last"),
        flow=("a -> b", "b -> c", "c -> last", "beside -> last"),
    )


@pytest.mark.parametrize(
    ("point", "completed", "in_flight"),
    [
        ("after_claim", set(), set()),
        ("after_start:b", {"a"}, {"b", "beside"}),
        ("before_record:b", {"a"}, {"b", "beside"}),
        pytest.param("within_record:b", {"a"}, {"b", "beside"}, marks=pytest.mark.essential),
        ("after_record:b", {"a", "b"}, {"c", "beside"}),
        ("before_record:last", {"a", "b", "c", "beside"}, {"last"}),
        pytest.param(
            "within_final_write",
            {"a", "b", "c", "beside"},
            {"last"},
            marks=pytest.mark.essential,
        ),
    ],
)
def test_after_a_kill_only_what_was_in_flight_runs_again(
    process: ServiceProcess,
    visits: CallCounter,
    point: str,
    completed: set[str],
    in_flight: set[str],
) -> None:
    if "beside" not in in_flight:
        visits.open("side gate")
    process.run_process(kill_at=point)
    execution_id = process.start_fatal(graph(visits))

    before = process.node_rows(execution_id)
    assert {i for i, row in before.items() if row["status"] == "completed"} == completed
    assert {i for i, row in before.items() if row["status"] == "running"} == in_flight
    assert process.row(execution_id)["status"] == "running"
    assert process.violations(service_runs=False) == []
    visited = visits.of(execution_id)

    process.run_process()
    visits.open("side gate")
    assert process.wait_ended(execution_id) == ["completed"]
    after = process.node_rows(execution_id)
    for node_id in completed:
        assert visits.of(execution_id)[node_id] == 1
        assert after[node_id] == before[node_id]
    for node_id in in_flight:
        assert visits.of(execution_id)[node_id] == visited.get(node_id, 0) + 1
        assert after[node_id]["attempt"] == before[node_id]["attempt"] + 1
    # Every call had the key of its node run, so the server can detect a repetition.
    assert set(visits.counts) == {f"{execution_id}:{i}" for i in after}
    assert process.row(execution_id)["recoveries"] <= 1
    assert process.violations() == []


def test_a_committed_end_is_final(process: ServiceProcess, visits: CallCounter) -> None:
    visits.open("side gate")
    process.run_process(kill_at="after_final_write")
    execution_id = process.start_fatal(graph(visits))
    ended, nodes = process.row(execution_id), process.node_rows(execution_id)
    assert ended["status"] == "completed"
    process.run_process()
    other = process.start(document(visits.node("other")))
    assert process.wait_ended(other) == ["completed"]
    assert (process.row(execution_id), process.node_rows(execution_id)) == (ended, nodes)
    assert process.violations() == []


def test_pending_executions_run_after_a_crash(tmp_path: Path, visits: CallCounter) -> None:
    with ServiceProcess(tmp_path, max_concurrent_executions=1) as service:
        service.run_process()
        running = service.start(document(visits.node("n", "gate")))
        visits.wait_for(running, "n")
        waiting = [service.submit().json()["executionId"] for _ in range(3)]
        service.kill()
        service.run_process()
        visits.open("gate")
        assert service.wait_ended(running, *waiting) == ["completed"] * 4
        assert [visits.of(i)["n"] for i in (running, *waiting)] == [2, 1, 1, 1]
        assert service.violations() == []
