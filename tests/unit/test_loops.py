"""Loops: bodies, invalid loops, failures and reruns."""

from typing import Any

import pytest

from engine.document import parse_document
from engine.errors import InvalidDocumentError
from engine.inputs import RunStart
from engine.json_values import MISSING
from engine.loop_states import LoopState
from engine.loops import FOR_EACH, Loop, Loops
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.rerun import changed_by_inputs, reused_runs
from engine.status import NodeStatus
from tasks.registry import DEFAULT
from tests.support.documents import validate
from tests.support.plans import PlannedRun, TextStep, by_key, done, failed, graph

SKIPPED = Outcome(NodeStatus.SKIPPED)
LOOP = graph("t:trigger each:forEach a:x b:x end:output", "t>each each>item>a a>b each>done>end")
NESTED = graph(
    "t:trigger outer:forEach inner:forEach x:x after:x end:output",
    "t>outer outer>item>inner inner>item>x inner>done>after outer>done>end",
)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a", NodeRunKey("a")),
        ("a[3]", NodeRunKey("a", (3,))),
        ("a[3][10]", NodeRunKey("a", (3, 10))),
        ("a [x][12]", NodeRunKey("a [x]", (12,))),
        ("a[3].b", NodeRunKey("a[3].b")),
        ("a[٣]", NodeRunKey("a[٣]")),
        ("a[03]", NodeRunKey("a[03]")),
        ("[0]", NodeRunKey("", (0,))),
    ],
)
def test_a_key_has_one_string_form(text: str, key: NodeRunKey) -> None:
    assert NodeRunKey.parse(text) == key
    assert str(key) == text


def test_a_body_is_all_that_lies_behind_item_connections() -> None:
    loops = Loops(NESTED)
    assert loops.bodies == {"outer": {"inner", "x", "after"}, "inner": {"x"}}
    assert loops.enclosing == {"inner": "outer", "after": "outer", "x": "inner"}
    assert loops.around("x")[-1] == "outer"
    assert set(loops.scope(None).nodes) == {"t", "outer", "end"}
    assert set(loops.scope("outer").nodes) == {"outer", "inner", "after"}
    assert [(c.source, c.target) for c in loops.scope("outer").document.connections] == [
        ("outer", "inner"),
        ("inner", "after"),
    ]


def refusal(nodes: list[dict[str, Any]], connections: list[dict[str, Any]]) -> list[str]:
    document = parse_document({"nodes": nodes, "connections": connections})
    with pytest.raises(InvalidDocumentError) as refused:
        validate(document, {"x", FOR_EACH}, lambda _: [], DEFAULT.ports)
    return [f"{problem.code} {problem.pointer}" for problem in refused.value.problems]


def node(node_id: str, kind: str = "x") -> dict[str, Any]:
    return {"id": node_id, "type": kind, "config": {}}


def way(source: str, target: str, kind: str | None = None) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target, "outputType": kind}


EACH = node("each", FOR_EACH)


@pytest.mark.parametrize(
    ("nodes", "connections", "refused"),
    [
        (
            [EACH, node("a"), node("out")],
            [way("each", "a", "item"), way("out", "a")],
            ["invalid_loop_entry /connections/1"],
        ),
        (
            [EACH, node("a"), node("b")],
            [way("each", "a", "item"), way("a", "b"), way("each", "b", "done")],
            ["invalid_loop_entry /connections/2"],
        ),
        (
            [EACH, node("other", FOR_EACH), node("a")],
            [way("each", "a", "item"), way("other", "a", "item")],
            ["invalid_loop_entry /connections/0", "invalid_loop_entry /connections/1"],
        ),
        ([EACH, node("a[1]")], [way("each", "a[1]", "item")], ["reserved_node_id /nodes/1/id"]),
        (
            [EACH, node("a")],
            [way("each", "a", "item"), way("a", "each")],
            ["cycle /connections/1", "no_entry_node /nodes"],
        ),
    ],
)
def test_an_invalid_loop_is_rejected(
    nodes: list[dict[str, Any]], connections: list[dict[str, Any]], refused: list[str]
) -> None:
    assert refusal(nodes, connections) == refused


def test_ids_may_end_in_brackets_in_a_workflow_without_loops() -> None:
    document = parse_document({"nodes": [node("a[1]"), node("b[2]")], "connections": [
        way("a[1]", "b[2]"),
    ]})  # fmt: skip
    plan = PlannedRun(validate(document, {"x"}, lambda _: [], DEFAULT.ports))
    assert plan.ready({}).start == ("a[1]",)
    assert plan.after(["a[1]"], {"a[1]": done(5)}).start == ("b[2]",)
    assert plan.node_input("b[2]", {"a[1]": done(5)}) == 5


def begun(items: int, **how: Any) -> dict[str, Loop]:
    return {"each": Loop(list(range(items)), **how)}


def test_a_loop_begins_as_many_items_as_may_be_under_way() -> None:
    plan = PlannedRun(LOOP)
    outcomes = {"t": done({})}
    assert plan.ready(outcomes, begun(5, concurrency=2)).start == ("a[0]", "a[1]")
    assert plan.node_input("a[1]", outcomes) == 1


def test_a_failed_item_ends_the_loop_and_no_further_item_starts() -> None:
    plan = PlannedRun(LOOP)
    outcomes: dict[str, Outcome] = {"t": done({})}
    loops = begun(3, concurrency=2)
    plan.ready(outcomes, loops)
    outcomes |= {"a[0]": done(1), "a[1]": failed()}
    step = plan.after(["a[0]", "a[1]"], outcomes, loops)
    assert step.start == ()
    assert step.cancels_scopes
    assert step.decided["each"].error == "item 1: Node 'a' failed: broke"
    assert step.decided["a"].error == "failed in 1 of 2 items; first 'a[1]': broke"
    outcomes |= dict.fromkeys(step.skip, SKIPPED)
    outcomes |= step.decided
    assert plan.failure(outcomes) == "Node 'each' failed: item 1: Node 'a' failed: broke"
    assert plan.is_cancelled_scope("b[0]", outcomes)


def test_with_continue_a_failed_item_lets_the_next_one_start() -> None:
    plan = PlannedRun(LOOP)
    outcomes: dict[str, Outcome] = {"t": done({})}
    loops = begun(3, continues_on_error=True)
    assert plan.ready(outcomes, loops).start == ("a[0]",)
    outcomes["a[0]"] = failed()
    assert plan.after(["a[0]"], outcomes, loops).start == ("a[1]",)
    assert plan.is_cancelled_scope("b[0]", outcomes)
    assert not plan.is_cancelled_scope("b[1]", outcomes)
    assert plan.states.progress_of(NodeRunKey("each")) == (1, 3)


def test_after_a_restart_an_item_that_failed_out_of_order_occupies_no_slot() -> None:
    outcomes: dict[str, Outcome] = {"t": done({}), "a[2]": failed()}
    step = PlannedRun(LOOP).ready(outcomes, begun(4, concurrency=2, continues_on_error=True))
    assert step.start == ("a[0]", "a[1]")


def test_a_loop_over_nothing_is_over_at_once_and_skips_its_body() -> None:
    plan = PlannedRun(LOOP)
    outcomes = {"t": done({})}
    step = plan.ready(outcomes, begun(0))
    assert step.decided["each"].result["outputData"] == []
    assert set(step.skip) == {"a", "b"}
    assert step.start == ("end",)


def test_a_loop_without_a_body_gives_its_items() -> None:
    plan = PlannedRun(graph("each:forEach end:output", "each>done>end"))
    step = plan.ready({}, begun(3))
    assert step.decided["each"].result["outputData"] == [0, 1, 2]


def test_a_loop_that_is_skipped_skips_its_body() -> None:
    skipping = graph("c:x each:forEach a:x", "c>true>each each>item>a")
    plan = PlannedRun(skipping)
    outcomes = {"c": done(1, conditionResult=False)}
    assert plan.after(["c"], outcomes) == TextStep(skip=("each", "a"))


# States


def test_items_start_in_order_up_to_the_concurrency_and_ended_ones_do_not() -> None:
    state = LoopState(Loop(list("abcd"), concurrency=2), ended={1})
    assert [state.start_next() for _ in range(3)] == [0, 2, None]
    assert state.in_progress == 2
    state.end(2)
    assert (state.ended, state.in_progress) == ({1, 2}, 1)
    assert [state.start_next() for _ in range(2)] == [3, None]
    state.end(3)
    assert state.start_next() is None


def test_a_node_inside_loops_has_the_items_of_all_of_them() -> None:
    plan = PlannedRun(NESTED)
    loops = {"outer": Loop([["p", "q"], ["r"]]), "inner[0]": Loop(["p", "q"], concurrency=2)}
    outcomes = {"t": done({})}
    assert plan.ready(outcomes, loops).start == ("x[0][0]", "x[0][1]")
    states = plan.states
    outer = {"item": ["p", "q"], "index": 0, "number": 1, "count": 2}
    assert states.loop_variable(NodeRunKey("inner", (0,))) == outer
    inner = {"item": "q", "index": 1, "number": 2, "count": 2, "outer": outer}
    assert states.loop_variable(NodeRunKey("x", (0, 1))) == inner
    assert states.item_of(NodeRunKey("x", (0, 1))) == "q"
    assert states.item_of(NodeRunKey("inner", (0,))) == ["p", "q"]
    assert states.item_of(NodeRunKey("end")) is MISSING
    assert states.loop_variable(NodeRunKey("end")) is MISSING
    assert states.progress_of(NodeRunKey("end")) is None
    assert states.progress_of(NodeRunKey("inner", (0,))) == (0, 2)


def test_a_scope_is_cancelled_if_a_loop_around_it_is_decided_or_its_item_failed() -> None:
    plan = PlannedRun(NESTED)
    loops = {"outer": Loop([1, 2]), "inner[0]": Loop([3, 4], continues_on_error=True)}
    outcomes: dict[str, Outcome] = {"t": done({})}
    plan.ready(outcomes, loops)
    assert not plan.is_cancelled_scope("x[0][0]", outcomes)
    outcomes["x[0][0]"] = failed()
    plan.after(["x[0][0]"], outcomes, loops)
    assert plan.is_cancelled_scope("x[0][0]", outcomes)
    assert not plan.is_cancelled_scope("x[0][1]", outcomes)
    assert not plan.is_cancelled_scope("t", outcomes)
    assert plan.is_cancelled_scope("x[0][1]", {**outcomes, "inner[0]": done()})
    assert plan.is_cancelled_scope("x[0][1]", {**outcomes, "outer": done()})
    assert not plan.is_cancelled_scope("x[0][1]", {**outcomes, "inner[1]": done()})
    key, decided = NodeRunKey("x", (0, 1)), {NodeRunKey("outer"): done()}
    assert plan.states.is_cancelled_scope(key, {}, decided)
    plan.states.clear()
    assert plan.states.progress_of(NodeRunKey("outer")) is None


@pytest.mark.parametrize(
    ("result", "loop"),
    [
        ({}, None),
        ({"outputData": [1]}, None),
        ({"outputData": [1], "park": {}}, None),
        ({"outputData": 1, "park": {"forEach": {}}}, None),
        ({"outputData": [1], "park": {"forEach": {}}}, Loop([1])),
        ({"outputData": [1], "park": {"forEach": {"concurrency": 0}}}, Loop([1])),
        ({"outputData": [1], "park": {"forEach": {"concurrency": 2}}}, Loop([1], 2)),
        (
            {"outputData": [1], "park": {"forEach": {"onError": "continue"}}},
            Loop([1], continues_on_error=True),
        ),
        ({"outputData": [1], "park": {"forEach": {"onError": "stop"}}}, Loop([1])),
    ],
)
def test_a_result_starts_a_loop_over_its_list(result: dict[str, Any], loop: Loop | None) -> None:
    assert Loop.of(result) == loop
    assert (Loop([1]).concurrency, Loop([1]).continues_on_error) == (1, False)


# Reruns

FIRST = {"t": done({})}
ITEMS = {"a[0]": done(1), "b[0]": done(1), "a[1]": done(1), "b[1]": failed()}
BROKEN = {"each": failed(), "a": done(), "b": failed()}
WHOLE = {"a[0]": done(1), "b[0]": done(1), "a": done(), "b": done(), "each": done([1])}


@pytest.mark.parametrize(
    ("outcomes", "from_node_id", "changed", "kept"),
    [
        (FIRST | ITEMS | BROKEN, None, set(), {"t", "a[0]", "b[0]", "a[1]"}),
        (FIRST | ITEMS | BROKEN, "each", set(), {"t"}),
        (FIRST | ITEMS | BROKEN, "b", set(), {"t"}),
        (FIRST | ITEMS | BROKEN, None, {"t"}, set()),
        (FIRST | WHOLE | {"end": failed()}, None, set(), {"t", *WHOLE}),
        (FIRST | WHOLE | {"end": done()}, None, set(), set()),
        (FIRST | WHOLE | {"end": done()}, "end", set(), {"t", *WHOLE}),
        (FIRST | WHOLE | {"end": done()}, "a", set(), {"t"}),
    ],
)
def test_a_rerun_reuses_the_completed_runs_of_a_failed_loop(
    outcomes: dict[str, Outcome], from_node_id: str | None, changed: set[str], kept: set[str]
) -> None:
    reused = reused_runs(LOOP, by_key(outcomes), from_node_id, changed)
    assert set(map(str, reused)) == kept


def test_a_rerun_keeps_whole_inner_loops_of_items_that_are_not_done() -> None:
    outcomes = {
        "t": done(),
        "x[0][0]": done(),
        "x[0]": done(),
        "inner[0]": done([1]),
        "after[0]": failed(),
        "x[1][0]": done(),
        "x[1][1]": failed(),
        "x[1]": failed(),
        "inner[1]": failed(),
        "outer": failed(),
    }
    reused = reused_runs(NESTED, by_key(outcomes), None, set())
    assert set(map(str, reused)) == {"t", "x[0][0]", "x[0]", "inner[0]", "x[1][0]"}


def _start(fired: str = "", **how: Any) -> RunStart:
    return RunStart(frozenset(fired), how.get("payloads", {}), how.get("values", {}))


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (_start("t"), _start("t"), set()),
        (_start("t"), _start("tw"), {"w"}),
        (_start("tw"), _start("t"), {"w"}),
        (_start(payloads={"t": 1}), _start(payloads={"t": 1}), set()),
        (_start(payloads={"t": 1}), _start(payloads={"t": 2}), {"t"}),
        (_start(payloads={"t": 1}), _start(), {"t"}),
        (_start(), _start(payloads={"t": None}), {"t"}),
        (_start(values={"m": 1}), _start(values={"m": 2, "n": 3}), {"m", "n"}),
        (_start(payloads={"t": 1}, values={"m": 1}), _start(values={"m": 1}), {"t"}),
    ],
)
def test_a_node_with_another_input_runs_again(
    before: RunStart, after: RunStart, changed: set[str]
) -> None:
    assert changed_by_inputs(before, after) == changed
