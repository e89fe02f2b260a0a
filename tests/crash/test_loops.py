"""SIGKILL during a loop: completed items are kept, and running items run again."""

import json

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node


def loop(visits: CallCounter) -> dict:
    """Return a loop of four items with two calls each; the second call of item 2 is gated."""
    return document(
        node("each", "forEach", forEachItems=["a", "b", "c", "d"], forEachConcurrency=2),
        visits.node("first"),
        visits.node("second", "g{{ loop.index }}"),
        node("end"),
        flow=("each -item-> first", "first -> second", "each -done-> end"),
    )


@pytest.mark.parametrize(
    "point",
    [
        "after_start:first[0]",
        "before_record:first[1]",
        "within_record:second[1]",
        "after_record:second[1]",
        "before_record:second[3]",
    ],
)
def test_completed_items_do_not_run_again(
    process: ServiceProcess, visits: CallCounter, point: str
) -> None:
    visits.open("g0", "g1", "g3")
    if point.endswith("[0]"):
        visits.open("g2")
    process.run_process(kill_at=point)
    execution_id = process.start_fatal(loop(visits))
    before = process.node_rows(execution_id)
    assert before["each"]["status"] == "waiting"
    assert process.violations(service_runs=False) == []
    visited = visits.of(execution_id)
    done = {i for i, row in before.items() if row["status"] == "completed"}

    process.run_process()
    visits.open("g2")
    assert process.wait_ended(execution_id) == ["completed"]
    after = process.node_rows(execution_id)
    for key in done - {"each"}:
        assert visits.of(execution_id)[key] == 1
        assert after[key] == before[key]
    for key in visited.keys() - done:
        assert visits.of(execution_id)[key] == visited[key] + 1
    runs = {f"{name}[{item}]" for name in ("first", "second") for item in range(4)}
    assert set(visits.of(execution_id)) == runs
    output = json.loads(process.row(execution_id)["finalOutput"])
    assert output == [{"visit": visits.of(execution_id)[f"second[{i}]"]} for i in range(4)]
    assert process.violations() == []
