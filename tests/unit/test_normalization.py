"""The graph of a document: disabled nodes, groups, and nodes without connections and settings."""

from typing import Any

import pytest

from engine.errors import InvalidDocumentError
from engine.inputs import start_manually
from engine.normalization import Normalized
from engine.outcome import Outcome
from engine.validation import read_and_validate, read_graph
from tasks.registry import DEFAULT
from tests.support.documents import document, node
from tests.support.plans import PlannedRun, done

CONDITION = {"conditionField": "a"}
COLUMNS = {"columnsOutputA": ["a"]}


def off(drawn: dict[str, Any]) -> dict[str, Any]:
    return {**drawn, "disabled": True}


def normalized(*nodes: dict[str, Any], flow: tuple[str, ...] = ()) -> Normalized:
    return read_and_validate(document(*nodes, flow=flow), DEFAULT.rules)


def refused(data: Any) -> InvalidDocumentError:
    with pytest.raises(InvalidDocumentError) as raised:
        read_and_validate(data, DEFAULT.rules)
    return raised.value


# Disabled nodes


@pytest.mark.parametrize(
    ("drawn", "ports", "live"),
    [
        (node("off", "condition"), ("true", "false", "error"), ["true", None]),
        (node("off", "approval"), ("approved", "rejected"), ["approved", None]),
        (node("off", "forEach"), ("item", "done"), ["done", None]),
        (node("off", "splitColumns"), ("A", "B"), ["A", "B", None]),
        (node("off", "http"), ("true", "anything", "error"), ["true", "anything", None]),
        (node("off", "type of another service"), ("true", "error"), ["true", None]),
    ],
)
def test_the_input_of_a_disabled_node_leaves_by_one_way_or_by_all(
    drawn: dict[str, Any], ports: tuple[str, ...], live: list[str | None]
):
    flow = ("start -> off", *(f"off -{port}-> {port}" for port in ports), "off -> None")
    ends = [node(end, "output") for end in (*ports, "None")]
    plan = PlannedRun(normalized(node("start", "trigger"), off(drawn), *ends, flow=flow).graph)
    outcomes: dict[str, Outcome] = {"start": done([1]), "off": done([1])}
    step = plan.ready(outcomes)
    assert list(step.start) == [str(port) for port in (*ports, None) if port in live]
    assert all(plan.node_input(end, outcomes) == [1] for end in step.start)
    assert plan.plan.counted == {"start", "off", *map(str, ports), "None"}
    assert not plan.plan.scopes.bodies


def test_the_inputs_of_a_disabled_join_are_merged_as_for_any_node():
    nodes = (node("a", "http", httpUrl="http://x"), node("b", "trigger"), off(node("j", "join")))
    plan = PlannedRun(normalized(*nodes, flow=("a -> j:A", "b -> j:B")).graph)
    assert plan.node_input("j", {"a": done([1]), "b": done([2])}) == [1, 2]


def test_a_disabled_output_does_not_count_as_reached():
    drawn = normalized(
        node("start", "trigger"), off(node("x")), node("y"), flow=("start -> x", "start -> y")
    )
    outcomes = {"start": done(0), "x": done(1), "y": done(2)}
    assert PlannedRun(drawn.graph).final_output(outcomes) == 2


def test_a_disabled_node_keeps_its_data_hidden_and_its_type_in_logs():
    drawn = off(node("x", "http", httpUrl=5, hideData=True, onError="continue", retries=99))
    graph = normalized(node("start", "trigger"), drawn, flow=("start -> x",)).graph
    assert graph.nodes["x"].config == {"hideData": True}
    assert graph.nodes["x"].shown_type == "http"


@pytest.mark.parametrize("kind", ["trigger", "webhook"])
def test_a_disabled_entry_node_at_a_root_is_skipped_and_elsewhere_passes_on(kind: str):
    drawn = normalized(
        node("start", "manualInput"),
        off(node("root", kind)),
        off(node("inside", kind)),
        node("end"),
        flow=("start -> inside", "inside -> end", "root -> end"),
    )
    plan = PlannedRun(drawn.graph)
    step = plan.ready({})
    assert (step.start, step.skip) == (("start",), ("root",))
    assert plan.plan.counted == {"start", "inside", "end"}


def test_a_disabled_root_of_another_type_passes_null_on():
    drawn = normalized(off(node("a", "manualInput")), node("end"), flow=("a -> end",))
    plan = PlannedRun(drawn.graph)
    assert plan.ready({}).start == ("a",)
    assert plan.node_input("a", {}) is None


def test_a_disabled_node_without_connections_is_not_part_of_an_execution():
    drawn = normalized(node("start", "trigger"), off(node("x", "http")))
    assert (list(drawn.graph.nodes), drawn.warnings) == (["start"], [])


@pytest.mark.parametrize("value", ["yes", 1, [], {}])
@pytest.mark.parametrize("place", ["node", "data"])
def test_disabled_is_true_or_false(value: Any, place: str):
    drawn = {"id": "x", "type": "trigger", "data": {}}
    holder = drawn if place == "node" else drawn["data"]
    holder["disabled"] = value
    (problem,) = refused({"nodes": [drawn]}).problems
    where = "/nodes/0/disabled" if place == "node" else "/nodes/0/data/disabled"
    assert (problem.code, problem.pointer) == ("invalid_document", where)
    assert "should be true or false" in problem.detail


@pytest.mark.parametrize("value", [False, None, "", "false", " FALSE "])
def test_a_node_that_is_not_disabled_is_judged(value: Any):
    drawn = document(node("start", "trigger"), node("x", "http"), flow=("start -> x",))
    drawn["nodes"][1]["disabled"] = value
    assert [problem.code for problem in refused(drawn).problems] == ["invalid_config"]


def test_inputs_for_a_disabled_node_are_rejected():
    graph = normalized(node("t", "trigger"), off(node("m", "manualInput")), flow=("t -> m",)).graph
    with pytest.raises(
        Exception, match="'m' names a node of type 'manualInput', which is disabled"
    ):
        start_manually(graph, {"m": 5})


# Groups


GROUP = {"id": "g", "type": "group", "data": {"label": "Frame"}}


@pytest.mark.parametrize("parent", ["parentId", "parentNode"])
def test_a_group_is_not_part_of_an_execution_and_the_nodes_inside_are(parent: str):
    inside = {**node("end"), parent: "g", "extent": "parent"}
    drawn = normalized(GROUP, node("start", "trigger"), inside, flow=("start -> end",))
    assert list(drawn.graph.nodes) == ["start", "end"]
    assert [(w.code, w.node_id) for w in drawn.warnings] == [("group_node", "g")]


def test_a_connection_to_a_group_is_rejected():
    drawn = document(GROUP, node("start", "trigger"), flow=("start -> g",))
    (problem,) = refused(drawn).problems
    assert (problem.code, problem.pointer) == ("group_connection", "/connections/0")
    assert "connect the nodes inside it" in problem.detail


def test_a_document_of_groups_has_no_start():
    error = refused(document(GROUP))
    assert [problem.code for problem in error.problems] == ["no_entry_node"]
    assert [warning.code for warning in error.warnings] == ["group_node"]


# Nodes that are neither connected nor configured


@pytest.mark.parametrize(
    "drawn",
    [
        node("x", "http"),
        node("x", "http", httpUrl=" ", httpMethod="PATCHY"),
        node("x", "llm", llmModel="m"),
        node("x", "llm", llmPrompt="p", outputType="enum"),
        node("x", "condition", additionalConditions=[{"field": "", "operator": "equals"}]),
        node("x", "condition", conditionField="a", additionalConditions=[{"value": 1}]),
        node("x", "join", joinStrategy="mergeByKey"),
        node("x", "wait"),
        node("x", "subworkflow"),
        node("x", "splitColumns"),
        node("x", "splitText"),
        node("x", "renameColumns", renameMapping=[{"from": "", "to": ""}]),
        node("x", "filter"),
        node("x", "filter", conditionField="a"),
        node("x", "aggregate"),
        node("x", "forEach"),
        node("x", "webhookResponse", webhookResponseMode="template"),
    ],
)
def test_a_node_without_connections_and_settings_is_a_warning(drawn: dict[str, Any]):
    found = normalized(node("start", "trigger"), drawn)
    assert list(found.graph.nodes) == ["start"]
    assert [(w.code, w.node_id, w.pointer) for w in found.warnings] == [
        ("unused_node", "x", "/nodes/1")
    ]
    stored = read_graph(document(node("start", "trigger"), drawn), DEFAULT.rules)
    assert list(stored.nodes) == ["start"]


@pytest.mark.parametrize(
    "drawn",
    [
        node("x", "http", httpUrl="http://x"),
        node("x", "forEach", forEachItems=[1]),
        node("x", "addField"),
        node("x", "manualInput"),
        node("x", "wait", waitSeconds=1),
        node("x", "output"),
    ],
)
def test_a_root_that_is_configured_runs_although_nothing_is_connected(drawn: dict[str, Any]):
    found = normalized(node("start", "trigger"), drawn)
    assert (list(found.graph.nodes), found.warnings) == (["start", "x"], [])


@pytest.mark.parametrize(
    ("drawn", "code"),
    [
        (node("x", "http", httpUrl="ftp://x"), "invalid_config"),
        (node("x", "http", httpUrl="http://x", retries=99), "invalid_config"),
        (node("x", "mystery"), "unknown_node_type"),
    ],
)
def test_a_wrong_setting_is_an_error_also_without_connections(drawn: dict[str, Any], code: str):
    error = refused(document(node("start", "trigger"), drawn))
    assert [problem.code for problem in error.problems] == [code]


def test_a_node_that_is_connected_is_an_error():
    drawn = document(node("start", "trigger"), node("x", "http"), flow=("start -> x",))
    assert [problem.code for problem in refused(drawn).problems] == ["invalid_config"]


def test_a_document_with_nothing_else_to_run_names_the_settings_that_are_missing():
    error = refused(document(node("x", "http"), {"id": "c", "type": "comment"}))
    assert [problem.pointer for problem in error.problems] == ["/nodes/0/config/httpUrl"]
    assert error.warnings == []


def test_warnings_come_beside_errors():
    error = refused(document(node("start", "trigger"), node("x", "http"), node("y", "mystery")))
    assert [problem.code for problem in error.problems] == ["unknown_node_type"]
    assert [warning.node_id for warning in error.warnings] == ["x"]
