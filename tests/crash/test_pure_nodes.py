"""SIGKILL around pure nodes, which are recorded together with the nodes after them."""

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node


@pytest.mark.parametrize(
    ("point", "completed", "visits_before"),
    [
        ("after_start:a", {"before"}, {}),
        ("after_record:a", {"before", "a"}, {"a": 1}),
        ("after_start:b", {"before", "a", "between"}, {"a": 1}),
        ("within_final_write", {"before", "a", "between"}, {"a": 1, "b": 1}),
    ],
)
def test_a_node_with_effects_starts_after_the_record_of_the_pure_nodes_before_it(
    process: ServiceProcess,
    visits: CallCounter,
    point: str,
    completed: set[str],
    visits_before: dict[str, int],
) -> None:
    graph = document(
        node("before", "addField", addFieldName="x", addFieldValue=1),
        visits.node("a"),
        node("between", "addField", addFieldName="y", addFieldValue=2),
        visits.node("b"),
        node("last", "output"),
        flow=("before -> a", "a -> between", "between -> b", "b -> last"),
    )
    process.run_process(kill_at=point)
    execution_id = process.start_fatal(graph)
    before = process.node_rows(execution_id)
    assert completed <= {i for i, row in before.items() if row["status"] == "completed"}
    assert visits.of(execution_id) == visits_before
    assert process.violations(service_runs=False) == []

    process.run_process()
    assert process.wait_ended(execution_id) == ["completed"]
    recorded = {i for i, row in before.items() if row["status"] == "completed"}
    for node_id in {"a", "b"} & recorded:
        assert visits.of(execution_id)[node_id] == 1
    after = process.node_rows(execution_id)
    assert {i for i, row in after.items() if row["status"] == "completed"} == set(after)
    assert {i: after[i] for i in recorded} == {i: before[i] for i in recorded}
    assert process.violations() == []
