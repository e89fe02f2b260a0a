"""Ports: what a connection's names mean, and which names are rejected."""

from typing import Any

import pytest
from prefect import task

from engine.document import parse_document
from engine.errors import InvalidDocumentError
from engine.graph import Graph
from engine.inputs import start_manually
from engine.ports import Port, ports_of
from engine.scope_plan import ScopePlan
from engine.validation import read_and_validate
from flows.node_catalog import describe_node_types
from tasks.config.base import NodeConfig
from tasks.registry import DEFAULT, NodeTypes
from tests.support.documents import document, node
from tests.support.plans import done


class RouteConfig(
    NodeConfig,
    title="Route",
    inputs=("left", "right"),
    outputs=(Port("paid", "Paid", ("settled",)), "open"),
):
    """A type of one's own with ports of its own."""


@task(name="route")
async def handle_route(_node: dict[str, Any], _data: Any) -> dict[str, Any]:
    return {}


def types_with_builtin() -> NodeTypes:
    handlers = {name: DEFAULT.handler(name) for name in DEFAULT.known}
    configs = {name: DEFAULT.config(name) for name in DEFAULT.known}
    return NodeTypes(
        {**handlers, "route": handle_route, "plain": handle_route},
        {**configs, "route": RouteConfig},
    )


ALL = types_with_builtin()
CONFIGS: dict[str, dict[str, Any]] = {
    "condition": {"conditionField": "a"},
    "splitColumns": {"columnsOutputA": ["a"]},
}


def drawn(node_type: str, key: str, name: Any, other: str = "plain") -> dict[str, Any]:
    """A connection out of a node of a type, or into it, in the format that the key belongs to."""
    out = key in ("outputType", "fromPort", "sourceHandle")
    ends = ("it", "other") if out else ("other", "it")
    keys = ("source", "target") if key.endswith("Handle") else ("fromNodeId", "toNodeId")
    connection = {"id": "c", **dict(zip(keys, ends, strict=True)), key: name}
    nodes = [node("it", node_type, **CONFIGS.get(node_type, {})), node("other", other)]
    listed = "edges" if key.endswith("Handle") else "connections"
    return {"nodes": nodes, listed: [connection]}


def meaning(node_type: str, key: str, name: Any) -> str | None:
    graph = read_and_validate(drawn(node_type, key, name), ALL.rules).graph
    (connection,) = graph.document.connections
    out = key in ("outputType", "fromPort", "sourceHandle")
    return connection.output_type if out else connection.input_port


@pytest.mark.parametrize(
    ("node_type", "key", "names", "port"),
    [
        (
            "condition",
            "sourceHandle",
            ["yes", "YES", " Yes ", "then", "Then", "True", "TRUE", "true", True, 1, 1.0, "1", "t"],
            "true",
        ),
        ("condition", "outputType", ["no", "No", "else", "False", False, 0, "0", "f"], "false"),
        (
            "condition",
            "sourceHandle",
            ["output-true", "true-output", "outputTrue", "source_true", "handle.true", "out:yes"],
            "true",
        ),
        ("condition", "fromPort", [None, "", "  "], None),
        ("condition", "sourceHandle", ["error", "Error", "on-error", "onError"], "error"),
        ("approval", "sourceHandle", ["approved", "Approve", "accepted", "yes"], "true"),
        ("approval", "sourceHandle", ["rejected", "Reject", "declined", "no"], "false"),
        ("forEach", "sourceHandle", ["item", "loop", "each", "BODY", "iteration"], "item"),
        ("forEach", "outputType", ["done", "after", "completed", None, ""], "done"),
        ("join", "targetHandle", ["A", "a", "left", "input-a", "inputA", "A-target"], "A"),
        ("join", "inputPort", ["B", "b", "Right", "port_b"], "B"),
        ("join", "toPort", [None, ""], None),
        ("splitColumns", "sourceHandle", ["A", "a", "output-a", "left"], "A"),
        ("splitColumns", "sourceHandle", ["B", "outputB", "second"], "B"),
        ("route", "sourceHandle", ["paid", "PAID", "settled", "output-paid"], "paid"),
        ("route", "targetHandle", ["left", "Left", "input-left"], "left"),
        ("plain", "sourceHandle", ["anything", "output", "maybe", "A"], None),
        ("plain", "sourceHandle", ["yes", "True"], "true"),
        ("plain", "sourceHandle", ["error", "ERROR"], "error"),
        ("plain", "targetHandle", ["anything", "B", "error"], None),
    ],
)
def test_a_name_means_a_port(node_type: str, key: str, names: list[Any], port: str | None):
    assert {repr(name): meaning(node_type, key, name) for name in names} == {
        repr(name): port for name in names
    }


@pytest.mark.parametrize(
    ("node_type", "key", "name", "detail"),
    [
        ("condition", "sourceHandle", "maybe", "no output 'maybe'; known are: true, false, error"),
        ("condition", "outputType", "output", "no output 'output'; known are: true, false, error"),
        ("condition", "sourceHandle", 2, "no output '2'"),
        ("condition", "sourceHandle", -1, "no output '-1'"),
        ("condition", "sourceHandle", "approved", "no output 'approved'"),
        ("approval", "fromPort", "later", "no output 'later'; known are: true, false, error"),
        ("forEach", "sourceHandle", "true", "no output 'true'; known are: item, done, error"),
        ("splitColumns", "sourceHandle", "C", "no output 'C'; known are: A, B, error"),
        ("join", "targetHandle", "C", "no input 'C'; known are: A, B"),
        ("join", "inputPort", "input", "no input 'input'; known are: A, B"),
        ("join", "toPort", True, "no input 'true'; known are: A, B"),
        ("route", "sourceHandle", "true", "no output 'true'; known are: paid, open, error"),
        ("route", "targetHandle", "A", "no input 'A'; known are: left, right"),
    ],
)
def test_an_unknown_port_is_rejected(node_type: str, key: str, name: Any, detail: str):
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate(drawn(node_type, key, name), ALL.rules)
    (problem,) = refused.value.problems
    assert problem.code == "unknown_port"
    assert problem.detail.startswith(f"connection 'c': node 'it' ({node_type}) has {detail}")
    listed = "edges" if key.endswith("Handle") else "connections"
    assert problem.pointer == f"/{listed}/0/{key}"
    assert (problem.node_id, problem.connection_id) == ("it", "c")


@pytest.mark.parametrize("name", [["true"], {"id": "true"}])
def test_a_port_name_that_is_not_a_string_is_rejected(name: Any):
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate(drawn("condition", "sourceHandle", name), ALL.rules)
    (problem,) = refused.value.problems
    assert (problem.code, problem.pointer) == ("invalid_document", "/edges/0/sourceHandle")
    assert "the 'sourceHandle' of connection 'c' is of type" in problem.detail


def test_every_unknown_port_is_named_at_once():
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate(
            document(
                node("c", "condition", conditionField="a"),
                node("j", "join"),
                flow=("c -maybe-> j:C", "c -perhaps-> j:D"),
            ),
            ALL.rules,
        )
    assert [problem.code for problem in refused.value.problems] == ["unknown_port"] * 4


def route_graph(*flow: str) -> Graph:
    nodes = [node(i, "plain") for i in "abcd"]
    return read_and_validate(document(*nodes, node("r", "route"), flow=flow), ALL.rules).graph


def test_several_inputs_of_a_custom_type_arrive_by_port():
    graph = route_graph("a -> r:RIGHT", "b -> r", "c -> r:right")
    plan = ScopePlan(graph, start_manually(graph, None))
    outcomes = {"a": done([1]), "b": done({"x": 1}), "c": done(3)}
    assert plan.node_input("r", outcomes) == {"left": {"x": 1}, "right": [1, 3]}


def test_a_result_with_port_data_takes_the_ports_that_are_in_it():
    graph = route_graph("r -settled-> a", "r -open-> b", "r -> c", "r -error-> d")
    plan = ScopePlan(graph, start_manually(graph, None))
    outcomes = {"r": done("all", portData={"paid": []})}
    step = plan.after(["r"], outcomes)
    assert (step.start, set(step.skip)) == (("a", "c"), {"b", "d"})
    assert plan.node_input("a", outcomes) == []
    assert plan.node_input("c", outcomes) == "all"
    whole = {"r": done({"open": 5}, portData=True)}
    assert plan.after(["r"], whole).start == ("b", "c")
    assert plan.node_input("b", whole) == 5


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("Yes", "No"), (True, False), (1, 0)])
def test_a_handler_without_declared_outputs_may_decide(yes: Any, no: Any):
    nodes = [node(i, "plain") for i in ("it", "a", "b", "c")]
    edges = [
        {"source": "it", "target": "a", "sourceHandle": yes},
        {"source": "it", "target": "b", "sourceHandle": no},
        {"source": "it", "target": "c", "sourceHandle": "bottom"},
    ]
    graph = read_and_validate({"nodes": nodes, "edges": edges}, ALL.rules).graph
    plan = ScopePlan(graph, start_manually(graph, None))
    decided = plan.after(["it"], {"it": done(1, conditionResult=False)})
    assert (decided.start, decided.skip) == (("b", "c"), ("a",))
    assert plan.after(["it"], {"it": done(1)}).start == ("a", "b", "c")


@pytest.mark.parametrize(
    "flow",
    [
        ("a -> r:left", "a -> r:LEFT"),
        ("a -true-> d", "a -> d", "a -yes-> d", "a -false-> d", "a -output-> d"),
        ("a -> d", "a -> d:x", "a -> d:input"),
    ],
    ids=["the same input", "one output of many names", "one input of many names"],
)
def test_a_connection_that_is_there_again_brings_nothing(flow: tuple[str, ...]):
    graph = route_graph(*flow)
    plan = ScopePlan(graph, start_manually(graph, None))
    target = flow[0].partition("> ")[2][0]
    expected: Any = {"left": [1, 2]} if target == "r" else [1, 2]
    assert plan.node_input(target, {"a": done([1, 2])}) == expected


@pytest.mark.parametrize("ports", [("a", "A"), ("error",), (" ",), ("ok", Port("ok"))])
def test_ports_with_ambiguous_names_are_rejected(ports: tuple[Any, ...]):
    with pytest.raises(ValueError, match=r"port|output"):
        ports_of(*ports)


def test_an_alias_that_two_ports_have_names_neither():
    class TwiceConfig(NodeConfig, outputs=(Port("x", aliases=("same",)), Port("y", "", ("same",)))):
        pass

    ports = TwiceConfig.info.ports
    assert ports.output_named("X") == "x"
    with pytest.raises(ValueError, match="unknown port"):
        ports.output_named("same")


def test_the_catalog_lists_the_ports_of_custom_types():
    (listed,) = (item for item in describe_node_types(ALL) if item.type == "route")
    assert (listed.inputs, listed.outputs) == (("left", "right"), ("paid", "open"))
    assert listed.ports.outputs[0] == Port("paid", "Paid", ("settled",))


def test_documents_that_are_read_without_types_keep_the_names_as_they_are():
    (connection,) = parse_document(drawn("condition", "sourceHandle", " Yes ")).connections
    assert connection.output_type == " Yes "


@pytest.mark.parametrize(
    ("node_type", "outputs"),
    [
        ("splitColumns", {None, "A", "B"}),
        ("forEach", {None, "done"}),
        ("http", {None, "true", "false"}),
    ],
)
def test_the_outputs_through_which_a_disabled_node_passes_its_input(
    node_type: str, outputs: set[str | None]
) -> None:
    assert DEFAULT.ports(node_type).passing() == outputs
