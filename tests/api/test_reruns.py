"""Reruns: completed nodes are reused, the others run again."""

from typing import Any

import pytest

from tests.support.documents import document, line, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import Gates
from tests.support.problems import problem_of
from tests.support.service import RunningService

pytestmark = pytest.mark.behavior

BRANCHES = document(
    node("start", "trigger"),
    node("a", "flaky", failures=0),
    node("b", "flaky", failures=1),
    node("end", "join"),
    flow=("start -> a", "start -> b", "a -> end:A", "b -> end:B"),
)


def rerun(service: RunningService, execution_id: str, **body: object) -> dict[str, Any]:
    response = service.http.post(f"/api/executions/{execution_id}/rerun", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["location"] == f"/api/executions/{response.json()['executionId']}"
    assert response.json()["rerunOf"] == execution_id
    return service.ended(response.json()["executionId"])


@pytest.mark.essential
def test_a_rerun_of_a_failed_execution_continues_at_the_failure(
    service: RunningService, gates: Gates
) -> None:
    failed = service.run(BRANCHES, inputs={"x": 1})
    assert failed["status"] == "failed"
    assert sorted(gates.runs) == ["a", "b"]
    again = rerun(service, failed["executionId"])
    assert again["status"] == "completed"
    assert again["rerunOf"] == failed["executionId"]
    assert sorted(gates.runs) == ["a", "b", "b"]
    assert again["progress"]["completedNodes"] == 4
    logs = service.logs(again["executionId"])
    assert {i: log["reusedFrom"] for i, log in logs.items()} == {
        "start": failed["executionId"],
        "a": failed["executionId"],
        "b": None,
        "end": None,
    }
    assert service.poll(failed["executionId"])["status"] == "failed"
    assert again["finalOutput"] == {"end": [{"attempt": 1}, {"attempt": 2}]}


def test_an_execution_is_run_again_from_a_chosen_node(
    service: RunningService, gates: Gates
) -> None:
    failed = service.run(BRANCHES)
    first = rerun(service, failed["executionId"])
    gates.runs.clear()
    again = rerun(service, first["executionId"], fromNodeId="a")
    assert again["status"] == "completed"
    assert gates.runs == ["a"]
    logs = service.logs(again["executionId"])
    assert logs["b"]["reusedFrom"] == first["executionId"]
    assert logs["start"]["reusedFrom"] == failed["executionId"]


def test_changed_inputs_run_the_nodes_that_take_them(service: RunningService, gates: Gates) -> None:
    graph = document(
        node("one", "manualInput", inputVarValue=1),
        node("two", "manualInput", inputVarName="other", inputVarValue=2),
        node("end"),
        flow=("one -> end", "two -> end"),
    )
    first = service.run(graph)
    assert first["finalOutput"] == {"input": 1, "other": 2}
    again = rerun(service, first["executionId"], inputs={"two": 22})
    assert again["finalOutput"] == {"input": 1, "other": 22}
    logs = service.logs(again["executionId"])
    assert [i for i, log in logs.items() if log["reusedFrom"]] == ["one"]


def test_a_completed_execution_with_nothing_changed_runs_as_a_whole(
    service: RunningService,
) -> None:
    first = service.run(line(3))
    again = rerun(service, first["executionId"])
    logs = service.logs(again["executionId"])
    assert [log["reusedFrom"] for log in logs.values()] == [None] * 3


def test_the_definition_of_the_old_execution_is_the_one_that_runs(service: RunningService) -> None:
    first = service.run(line(3))
    service.save(document(node("other", "trigger")))
    again = rerun(service, first["executionId"], fromNodeId="n0")
    assert list(service.logs(again["executionId"])) == ["start", "n0", "end"]


def test_a_running_execution_cannot_be_rerun(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(node("gate", "gate")))
    gates.wait_for("gate")
    refused = service.http.post(f"/api/executions/{execution_id}/rerun", json={})
    assert refused.status_code == 409
    assert "running" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"fromNodeId": "nope"}, "/fromNodeId"), ({"inputs": {"n0": 1}}, "/inputs/n0")],
)
def test_a_rerun_that_does_not_fit_is_rejected(
    service: RunningService, body: object, pointer: str
) -> None:
    first = service.run(line(3))
    refused = service.http.post(f"/api/executions/{first['executionId']}/rerun", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert len(service.rows("SELECT id FROM workflow_executions")) == 1


def test_a_rerun_of_an_unknown_execution_is_a_404(service: RunningService) -> None:
    assert service.http.post("/api/executions/nope/rerun", json={}).status_code == 404


# Another definition

FIXED = document(
    node("start", "trigger"),
    node("a", "flaky", failures=0),
    node("b", "flaky", failures=0, fixed=True),
    node("end", "join"),
    node("new", "flaky", failures=0),
    flow=("start -> a", "start -> b", "a -> end:A", "b -> end:B", "end -> new"),
)


def plan_of(service: RunningService, execution_id: str, **body: object) -> dict[str, Any]:
    path = f"/api/executions/{execution_id}/rerun"
    response = service.http.post(path, json={**body, "dryRun": True})
    assert response.status_code == 200, response.text
    assert "location" not in response.headers
    return response.json()


@on_both()
@pytest.mark.parametrize("how", ["current", "graph"])
def test_a_rerun_of_a_fixed_definition_runs_only_what_changed(
    service: RunningService, gates: Gates, how: str
) -> None:
    failed = service.run(BRANCHES, inputs={"x": 1})["executionId"]
    gates.runs.clear()
    body: dict[str, object] = {"definition": "current"} if how == "current" else {"graph": FIXED}
    if how == "current":
        service.save(FIXED)
    plan = plan_of(service, failed, **body)
    assert plan == {
        "rerunOf": failed,
        "dryRun": True,
        "willRun": ["b", "end", "new"],
        "takenOver": ["start", "a"],
    }
    assert len(service.rows("SELECT id FROM workflow_executions")) == 1
    again = rerun(service, failed, **body)
    assert (again["status"], gates.runs) == ("completed", ["b", "new"])
    assert again["workflowId"] == "w"
    logs = service.logs(again["executionId"])
    assert [i for i, log in logs.items() if log["reusedFrom"]] == plan["takenOver"]
    definition = service.http.get(f"/api/executions/{again['executionId']}/definition").json()
    assert definition["data"] == FIXED


def test_the_body_of_a_loop_is_taken_over_or_runs_with_the_outermost_loop(
    service: RunningService,
) -> None:
    loops = document(
        node("start", "trigger"),
        node("rows", "forEach", forEachItems="{{ rows }}"),
        node("cells", "forEach", forEachItems="{{ cells }}"),
        node("cell", "flaky", failures=0),
        node("never", "flaky", failures=0),
        node("after", "flaky", failures=0),
        flow=(
            "start -> rows",
            "rows -item-> cells",
            "cells -item-> cell",
            "cell -error-> never",
            "rows -done-> after",
        ),
    )
    rows = [{"cells": [1, 2]}, {"cells": [3]}]
    past = service.run(loops, inputs={"start": {"rows": rows}})["executionId"]
    body = ["rows", "cells", "cell", "never"]  # The last one was skipped for each item.
    plan = plan_of(service, past, fromNodeId="after")
    assert (plan["willRun"], plan["takenOver"]) == (["after"], ["start", *body])
    plan = plan_of(service, past, fromNodeId="rows")
    assert (plan["willRun"], plan["takenOver"]) == ([*body, "after"], ["start"])


def test_the_original_definition_is_the_default(service: RunningService, gates: Gates) -> None:
    failed = service.run(BRANCHES)["executionId"]
    service.save(document(node("other", "gate")))
    for body in ({}, {"definition": "original"}):
        assert plan_of(service, failed, **body)["willRun"] == ["b", "end"]


def test_a_definition_without_the_failed_node_runs_no_unchanged_node(
    service: RunningService, gates: Gates
) -> None:
    failed = service.run(BRANCHES)["executionId"]
    gates.runs.clear()
    without = document(*BRANCHES["nodes"][:2], flow=("start -> a",))
    again = rerun(service, failed, graph=without)
    assert (again["status"], gates.runs) == ("completed", [])
    assert again["progress"]["percentage"] == 100


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"graph": {"nodes": []}}, "no_entry_node", "/graph/nodes"),
        ({"graph": FIXED, "definition": "current"}, "conflicting_fields", "/definition"),
        ({"graph": FIXED, "fromNodeId": "gone"}, "unknown_node", "/fromNodeId"),
        ({"definition": "current"}, "no_current_definition", "/definition"),
    ],
)
def test_an_invalid_definition_is_rejected(
    service: RunningService, body: dict[str, object], code: str, pointer: str
) -> None:
    response = service.http.post("/api/workflows/execute", json={"graph": BRANCHES})
    failed = service.ended(response.json()["executionId"])["executionId"]
    response = service.http.post(f"/api/executions/{failed}/rerun", json=body)
    (problem,) = problem_of(response, 422)["errors"]
    assert (problem["code"], problem["pointer"]) == (code, pointer)
    assert len(service.rows("SELECT id FROM workflow_executions")) == 1
