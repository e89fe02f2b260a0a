"""Plan: inputs of nodes, final output and progress (contract, section 5)."""

from typing import Any

import pytest

from engine.document import parse_document
from engine.inputs import RunStart, start_manually
from engine.json_encoding import size_within
from engine.node_run_key import NodeRunKey
from engine.normalization import normalize
from engine.outcome import SKIPPED, Outcome, Progress
from engine.plan import Plan
from engine.scope_plan import ScopePlan
from tasks.registry import DEFAULT
from tests.support.plans import (
    ROWS,
    WENT_FALSE,
    WENT_TRUE,
    PlannedRun,
    by_key,
    done,
    failed,
    graph,
    plan,
    progress_of,
)

# --- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "manualInput", "trigger", "join", "output"])
def test_a_root_gets_null(kind: str) -> None:
    assert plan(f"a:{kind}").node_input("a", {}) is None


@pytest.mark.parametrize("payload", [{"x": 1}, [1], None])
def test_an_entry_node_gets_its_payload(payload: Any) -> None:
    drawn = graph("t:trigger")

    assert ScopePlan(drawn, RunStart(frozenset("t"), {"t": payload})).node_input("t", {}) == payload


def test_the_value_of_a_manual_input_is_in_its_config() -> None:
    drawn = graph("m:manualInput", m={"inputVarName": "x", "inputVarValue": 1})

    given = ScopePlan(drawn, start_manually(drawn, {"m": 5}))

    assert given.node("m").config == {"inputVarName": "x", "inputVarValue": 5}
    assert plan("m:manualInput").node("m").config == {}


@pytest.mark.parametrize("output", [{"x": 1}, [1, 2], "text", 5, False, None])
def test_one_live_connection_passes_on_the_output_of_its_source(output: Any) -> None:
    assert plan("a:http b:http", "a>b").node_input("b", {"a": done(output)}) == output


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ({"x": 1}, {"y": 2}, {"x": 1, "y": 2}),
        ({"x": 1, "y": 1}, {"y": 2}, {"x": 1, "y": 2}),
        ({"x": {"a": 1}}, {"x": {"b": 2}}, {"x": {"b": 2}}),
        ([1, 2], [2, 3], [1, 2, 2, 3]),
        ([], [1], [1]),
        ({"x": 1}, [1], {"a": {"x": 1}, "b": [1]}),
        ("one", "other", {"a": "one", "b": "other"}),
        ({"x": 1}, None, {"a": {"x": 1}, "b": None}),
        ([1], "text", {"a": [1], "b": "text"}),
    ],
    ids=[
        "objects",
        "the later wins",
        "shallow",
        "lists",
        "an empty list",
        "mixed",
        "texts",
        "an object and null",
        "a list and a text",
    ],
)
def test_several_live_connections_are_merged(one: Any, other: Any, merged: Any) -> None:
    outcomes = {"b": done(other), "a": done(one)}

    assert plan("a:http b:http c:http", "a>c b>c").node_input("c", outcomes) == merged


def test_the_order_of_the_connections_decides_which_is_later() -> None:
    run = plan("a:http b:http c:http", "b>c a>c")

    assert run.node_input("c", {"a": done({"x": "a"}), "b": done({"x": "b"})}) == {"x": "a"}


def test_dead_connections_bring_nothing() -> None:
    run = plan("c:condition a:http b:http d:http", "c>true>a c>false>b a>d b>d")
    outcomes = {"c": WENT_TRUE, "a": done("taken"), "b": SKIPPED}

    assert run.node_input("d", outcomes) == "taken"


@pytest.mark.parametrize(
    ("way", "brought"), [("c>true>d", [1, 2]), ("c>false>d", [3]), ("c>d", [1, 2, 3])]
)
def test_a_condition_over_rows_sends_each_side_its_records(way: str, brought: list[int]) -> None:
    assert plan("c:condition d:http", way).node_input("d", {"c": ROWS}) == brought


def test_both_sides_of_a_condition_over_rows_may_meet_again() -> None:
    assert plan("c:condition d:http", "c>false>d c>true>d").node_input("d", {"c": ROWS}) == [
        3,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("ways", "brought"),
    [
        ("a>j b>j", {"A": "a", "B": "b"}),
        ("b>j a>j", {"A": "b", "B": "a"}),
        ("a>j.B b>j.A", {"A": "b", "B": "a"}),
        ("a>j b>j.A", {"A": "b", "B": "a"}),
        ("a>j.B b>j", {"A": "b", "B": "a"}),
        ("a>j.A", {"A": "a"}),
        ("a>j.B", {"B": "a"}),
        ("a>j", {"A": "a"}),
        ("a>j.left b>j.right", {"A": "a", "B": "b"}),
        ("a>j.A b>j.A", {"A": ["a", "b"]}),
        ("a>j b>j l>j", {"A": "a", "B": ["b", 1, 2]}),
        ("l>j.A a>j.A b>j.B", {"A": [1, 2, "a"], "B": "b"}),
        ("skipped>j b>j", {"B": "b"}),
        ("a>j skipped>j b>j", {"A": "a", "B": "b"}),
    ],
)
def test_a_join_gets_its_inputs_by_port(ways: str, brought: dict[str, Any]) -> None:
    run = plan("a:http b:http l:http skipped:webhook j:join", ways)
    outcomes = {"a": done("a"), "b": done("b"), "l": done([1, 2]), "skipped": SKIPPED}

    assert run.node_input("j", outcomes) == brought


def test_the_handles_of_react_flow_are_the_ports_of_a_join() -> None:
    drawn = normalize(
        parse_document(
            {
                "nodes": [{"id": i, "type": t} for i, t in (("a", "x"), ("b", "x"), ("j", "join"))],
                "edges": [
                    {"source": "a", "target": "j", "targetHandle": "B"},
                    {"source": "b", "target": "j", "targetHandle": "A"},
                ],
            }
        ),
        DEFAULT.known,
        DEFAULT.ports,
    ).graph

    run = ScopePlan(drawn, start_manually(drawn, None))

    assert run.node_input("j", {"a": done("a"), "b": done("b")}) == {"A": "b", "B": "a"}


# --- final output -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "ways", "outcomes", "output"),
    [
        ("t:trigger o:output", "t>o", {"t": done(1), "o": done({"x": 2})}, {"x": 2}),
        ("t:trigger o:output", "t>o", {"t": done(1), "o": done(None)}, None),
        (
            "t:trigger o:output p:output",
            "t>o t>p",
            {"t": done(1), "p": done(2), "o": done(3)},
            {"o": 3, "p": 2},
        ),
        (
            "c:condition o:output p:output",
            "c>true>o c>false>p",
            {"c": WENT_TRUE, "o": done(1), "p": SKIPPED},
            1,
        ),
        ("o:output a:http", "o>a", {"o": done(1), "a": done(2)}, 1),
        ("t:trigger a:http b:http", "t>a t>b", {i: done(i) for i in "tab"}, {"a": "a", "b": "b"}),
        ("t:trigger a:http", "", {"t": done(1), "a": done(None)}, {"t": 1, "a": None}),
        (
            "c:condition o:output",
            "c>true>o",
            {"c": WENT_FALSE, "o": SKIPPED},
            {"c": {"age": 3}},
        ),
        ("w:webhook t:trigger", "", {"t": done(1), "w": SKIPPED}, {"t": 1}),
    ],
    ids=[
        "one output node",
        "one output node with null",
        "several",
        "only the one reached",
        "one that feeds another node",
        "none: the leaves",
        "none: lone nodes",
        "none reached: where the run ended",
        "a skipped node is not a leaf",
    ],
)
def test_the_final_output(nodes: str, ways: str, outcomes: dict[str, Outcome], output: Any) -> None:
    assert plan(nodes, ways).final_output(outcomes) == output


def test_a_tolerated_failure_at_a_leaf_shows_in_the_final_output() -> None:
    run = plan("a:http", a={"onError": "continue"})

    assert run.final_output({"a": failed("broke")}) == {
        "a": {"error": {"nodeId": "a", "message": "broke"}}
    }


def test_an_output_node_that_failed_was_not_reached() -> None:
    run = plan("o:output p:output", o={"onError": "continue"})

    assert run.final_output({"o": failed(), "p": done(1)}) == 1


# --- progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "ways", "counted"),
    [
        ("t:trigger a:http b:http", "t>a a>b", "t a b"),
        ("t:trigger w:webhook", "", "t"),
        ("t:trigger w:webhook a:http", "w>a", "t"),
        ("t:trigger w:webhook a:http", "w>a t>a", "t a"),
        ("t:trigger note:comment", "", "t"),
        ("t:trigger note:comment a:http", "t>note note>a", "t a"),
        ("note:comment a:http", "note>a", "a"),
        ("c:condition a:http b:http", "c>true>a c>false>b", "c a b"),
    ],
    ids=[
        "all",
        "no entry node that is not fired",
        "nor what only it feeds",
        "but what something else feeds too",
        "no comment",
        "no comment inside a path",
        "no comment at a root",
        "both sides of a condition",
    ],
)
def test_progress_counts_reachable_nodes(nodes: str, ways: str, counted: str) -> None:
    run = plan(nodes, ways)

    assert run.counted == set(counted.split())
    assert progress_of(run, {}) == Progress(len(counted.split()), 0, 0, 0)


def test_progress_counts_completed_failed_and_skipped_nodes() -> None:
    run = plan("t:trigger w:webhook c:condition a:http b:http note:comment", "t>c c>a c>b t>note")
    outcomes = {
        "t": done(),
        "w": SKIPPED,
        "note": done(),
        "c": done(),
        "a": failed(),
        "b": SKIPPED,
    }

    assert progress_of(run, outcomes) == Progress(total=4, completed=2, failed=1, skipped=1)


@pytest.mark.parametrize(
    ("progress", "finished", "percentage"),
    [
        (Progress(0, 0, 0, 0), False, 0),
        (Progress(0, 0, 0, 0), True, 100),
        (Progress(3, 0, 0, 0), False, 0),
        (Progress(3, 1, 0, 0), False, 33),
        (Progress(3, 1, 0, 1), False, 66),
        (Progress(3, 1, 1, 1), False, 99),
        (Progress(1000, 999, 0, 0), False, 99),
        (Progress(3, 1, 1, 1), True, 100),
        (Progress(3, 1, 0, 0), True, 100),
    ],
)
def test_the_percentage_counts_decided_nodes_and_is_100_only_when_finished(
    progress: Progress, finished: bool, percentage: int
) -> None:
    assert progress.percentage(finished=finished) == percentage


# Sizes of inputs


def _input_size(run: PlannedRun, node_id: str, max_size: int, **outcomes: Outcome) -> int | None:
    key = NodeRunKey(node_id)
    return run.plan.input_size(key, by_key(outcomes), run.states, max_size)


def test_the_size_of_an_input_is_the_sum_of_its_values_up_to_a_maximum() -> None:
    run = PlannedRun(graph("a:http b:http c:http", "a>c b>c"))
    sides = {"a": done("12345"), "b": done("678")}
    (of_a, of_b) = (size_within(side.output, 100) for side in sides.values())
    assert of_a is not None
    assert of_b is not None
    total = of_a + of_b
    assert total > of_a > of_b > 0
    assert _input_size(run, "c", total, **sides) == total
    assert _input_size(run, "c", 1_000, **sides) == total
    assert _input_size(run, "c", total - 1, **sides) is None
    assert _input_size(run, "c", of_a - 1, **sides) is None
    assert _input_size(run, "a", 10) == 0  # a root without a payload


def test_the_size_of_the_input_of_an_entry_node_is_that_of_its_payload() -> None:
    drawn = graph("t:trigger")
    run = PlannedRun(drawn)
    run.plan = Plan(drawn, start_manually(drawn, {"t": "12345"}))
    assert _input_size(run, "t", 100) == size_within("12345", 100)
    assert _input_size(run, "t", 1) is None
