"""switch node in executions: only the branches of the selected outputs run."""

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService

pytestmark = pytest.mark.behavior

CASES = [{"value": "a"}, {"value": "b"}]


def test_only_the_branch_of_the_case_runs(service: RunningService) -> None:
    graph = document(
        node("start", "trigger"),
        node("route", "switch", switchField="kind", switchCases=CASES),
        *(node(name) for name in ("first", "second", "other")),
        flow=("start -> route", "route -case1-> first", "route -2-> second", "route -else-> other"),
    )
    for kind, reached in (("a", "first"), ("b", "second"), ("c", "other")):
        execution = service.run(graph, inputs={"kind": kind})
        assert execution["finalOutput"] == {"kind": kind}
        statuses = {
            name: log["status"] for name, log in service.logs(execution["executionId"]).items()
        }
        names = {"first", "second", "other"}
        assert {name for name in names if statuses[name] == "completed"} == {reached}


def test_records_are_divided_among_the_branches(service: RunningService) -> None:
    records = [{"kind": kind} for kind in ("b", "a", "c", "a")]
    graph = document(
        node("start", "manualInput", inputVarName="rows", inputVarValue=records),
        node("each", "forEach", forEachItems="{{ rows }}"),
        node("route", "switch", switchField="kind", switchCases=CASES, processingMode="perRow"),
        node("first"),
        node("other"),
        flow=(
            "start -> each",
            "each -done-> route",
            "route -case1-> first",
            "route -default-> other",
        ),
    )
    output = service.run(graph)["finalOutput"]
    assert output == {"first": [{"kind": "a"}, {"kind": "a"}], "other": [{"kind": "c"}]}
