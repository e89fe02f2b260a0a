"""Recursion: limits for workflows that call themselves or each other."""

from pathlib import Path

from tests.support.calls import call, violations
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService


def test_a_workflow_that_calls_itself_comes_to_an_end(tmp_path: Path) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_subworkflow_depth=3) as service:
        done = service.run(document(call(workflow_id="w")))
        assert done["status"] == "failed"
        assert "MAX_SUBWORKFLOW_DEPTH" in done["error"]
        assert " → ".join(["'A workflow' (w)"] * 5) in done["error"]
        rows = service.rows("SELECT status FROM workflow_executions")
        assert [row["status"] for row in rows] == ["failed"] * 4
        depths = service.rows("SELECT depth FROM orchestrator_children ORDER BY depth")
        assert [row["depth"] for row in depths] == [1, 2, 3]


def test_as_deep_as_is_allowed_is_not_too_deep(tmp_path: Path) -> None:
    with RunningService(tmp_path, PROBE_TYPES, max_subworkflow_depth=3) as service:
        service.save(document(node("n", "manualInput", inputVarValue=1)), "d3")
        for depth in (2, 1):
            service.save(document(call("c", f"d{depth + 1}")), f"d{depth}")
        assert service.run(document(call("c", "d1")))["finalOutput"] == {
            "c": {"c": {"c": {"n": {"input": 1}}}}
        }


def test_a_workflow_that_calls_itself_again_and_again_comes_to_an_end(tmp_path: Path) -> None:
    # Up to the maximum depth, these would be 5 + 25 + 125 calls.
    items = {"forEachItems": [1, 2, 3, 4, 5], "forEachOnError": "continue"}
    each = node("each", "forEach", **items)
    graph = document(each, call(workflow_id="w"), flow=("each -item-> call",))
    bounds = {"max_subworkflow_depth": 3, "max_subworkflow_executions": 20}
    with RunningService(tmp_path, PROBE_TYPES, **bounds) as service:
        done = service.run(graph)
        errors = service.rows(
            "SELECT error FROM execution_logs WHERE error LIKE '%MAX_SUBWORKFLOW_EXECUTIONS%'"
        )
        assert errors[0]["error"] == (
            "an execution may lead to 20 others by calls (MAX_SUBWORKFLOW_EXECUTIONS), "
            f"and execution {done['executionId']} has"
        )
        roots = service.rows("SELECT rootId FROM orchestrator_children")
        assert {row["rootId"] for row in roots} == {done["executionId"]}
        assert len(roots) == 20
        assert violations(service) == []
