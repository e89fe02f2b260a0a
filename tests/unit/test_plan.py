"""How a run goes: what starts, what is skipped, what flows, what it comes to (contract, section 5).

Workflows are spelled ``"t:trigger a:http"`` and ``"t>a c>true>b a>j.A"``: the second connection
leaves ``c`` at ``true``, the third enters ``j`` at port ``A``.
"""

from typing import Any

import pytest

from engine.document import parse_document
from engine.graph import Graph
from engine.inputs import Start, start_by_webhook, start_manually
from engine.options import OnError
from engine.plan import SKIPPED, Outcome, Plan, Progress, Step, describe_failure
from engine.status import NodeStatus


def graph(nodes: str, ways: str = "", **configs: dict[str, Any]) -> Graph:
    connections: list[dict[str, Any]] = []
    for way in ways.split():
        source, *output_type, end = way.split(">")
        target, _, port = end.partition(".")
        connections.append(
            {
                "fromNodeId": source,
                "toNodeId": target,
                "outputType": output_type[0] if output_type else None,
                "inputPort": port or None,
            }
        )
    return Graph(
        parse_document(
            {
                "nodes": [
                    {"id": node_id, "type": kind, "config": configs.get(node_id, {})}
                    for node_id, kind in (node.split(":") for node in nodes.split())
                ],
                "connections": connections,
            }
        )
    )


def plan(nodes: str, ways: str = "", **configs: dict[str, Any]) -> Plan:
    drawn = graph(nodes, ways, **configs)
    return Plan(drawn, start_manually(drawn, None))


def done(output: Any = None, **result: Any) -> Outcome:
    return Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": output, **result})


def failed(reason: str = "broke") -> Outcome:
    return Outcome(NodeStatus.ERROR, error=reason)


DIAMOND = ("t:trigger a:http b:http c:http", "t>a t>b a>c b>c")


# --- what starts ------------------------------------------------------------------------------


def test_roots_start_the_run() -> None:
    assert plan("t:trigger m:manualInput a:http b:http", "t>b").ready({}) == Step(("t", "m", "a"))


def test_an_entry_node_that_is_not_fired_is_skipped_and_so_is_what_only_it_feeds() -> None:
    run = plan("t:trigger w:webhook a:http b:http c:http", "w>a a>b t>c b>c")

    assert run.ready({}) == Step(("t",), ("w", "a", "b"))


def test_a_delivery_fires_its_webhook_and_other_roots_run_all_the_same() -> None:
    drawn = graph("t:trigger w:webhook v:webhook m:manualInput a:http", "t>a")

    step = Plan(drawn, start_by_webhook(drawn, "w", {})).ready({})

    assert step == Step(("w", "m"), ("t", "a", "v"))


def test_an_entry_node_that_is_fed_by_another_node_runs_like_any_other() -> None:
    assert plan("a:http t:trigger", "a>t").after(["a"], {"a": done()}) == Step(("t",))


def test_a_comment_without_connections_is_not_part_of_the_run() -> None:
    run = plan("t:trigger note:comment")

    assert run.ready({}) == Step(("t",))
    assert run.progress({}).total == 1


def test_a_comment_inside_a_path_runs() -> None:
    assert plan("t:trigger note:comment", "t>note").after(["t"], {"t": done()}) == Step(("note",))


def test_a_node_starts_as_soon_as_every_connection_into_it_is_decided() -> None:
    run = plan(*DIAMOND)

    assert run.after(["t"], {"t": done()}) == Step(("a", "b"))
    assert run.after(["a"], {"t": done(), "a": done()}) == Step()
    assert run.after(["b"], {"t": done(), "a": done(), "b": done()}) == Step(("c",))


def test_the_lower_node_of_a_diamond_runs_once_though_both_sides_end_together() -> None:
    assert plan(*DIAMOND).after(["a", "b"], {i: done() for i in "tab"}) == Step(("c",))


def test_a_run_that_goes_on_after_a_crash_starts_what_was_in_flight_and_nothing_twice() -> None:
    assert plan(*DIAMOND).ready({"t": done(), "a": done()}) == Step(("b",))


@pytest.mark.parametrize("ended", [{}, {"t": done()}, {i: done() for i in "tab"}])
def test_asking_again_gives_the_same_answer(ended: dict[str, Outcome]) -> None:
    run = plan(*DIAMOND)

    assert run.ready(ended) == run.ready(ended)


def test_when_all_is_decided_nothing_follows() -> None:
    assert plan(*DIAMOND).ready({i: done() for i in "tabc"}) == Step()


# --- what is live -----------------------------------------------------------------------------

WENT_TRUE = done({"age": 30}, conditionResult=True)
WENT_FALSE = done({"age": 3}, conditionResult=False)
ROWS = done([1, 2, 3], trueRecords=[1, 2], falseRecords=[3])
ALL_TRUE = done([1, 2], trueRecords=[1, 2], falseRecords=[])
NO_ROWS = done([], trueRecords=[], falseRecords=[])
FORK = (
    "c:condition yes:http no:http any:http oops:http",
    "c>true>yes c>false>no c>any c>error>oops",
)


@pytest.mark.parametrize(
    ("on_error", "outcome", "live"),
    [
        ("stop", WENT_TRUE, "yes any"),
        ("stop", WENT_FALSE, "no any"),
        ("stop", ROWS, "yes no any"),
        ("stop", ALL_TRUE, "yes any"),
        ("stop", NO_ROWS, "any"),
        ("stop", done({}), "yes no any"),
        ("continue", WENT_TRUE, "yes any"),
        ("branch", WENT_TRUE, "yes any"),
        ("continue", failed(), "yes no any oops"),
        ("branch", failed(), "oops"),
        ("stop", failed(), ""),
        ("stop", SKIPPED, ""),
        ("branch", SKIPPED, ""),
    ],
)
def test_which_connections_are_live(on_error: str, outcome: Outcome, live: str) -> None:
    run = plan(*FORK, c={"onError": on_error})

    ways = run.graph.outgoing["c"]

    assert [way.target for way in ways if run.is_live(way, outcome)] == live.split()


def test_an_approval_s_answer_picks_the_side() -> None:
    run = plan("p:approval yes:http no:http", "p>true>yes p>false>no")

    assert run.after(["p"], {"p": WENT_FALSE}) == Step(("no",), ("yes",))


def test_a_node_all_of_whose_connections_are_dead_is_skipped_and_so_on_downstream() -> None:
    run = plan("c:condition a:http b:http d:http", "c>true>a a>b b>d c>d")

    assert run.after(["c"], {"c": WENT_FALSE}) == Step(("d",), ("a", "b"))


def test_one_live_connection_is_enough() -> None:
    run = plan("c:condition a:http b:http d:http", "c>true>a c>false>b a>d b>d")
    outcomes = {"c": WENT_TRUE, "b": SKIPPED, "a": done()}

    assert run.after(["a"], outcomes) == Step(("d",))


def test_a_dead_connection_decides_nothing_while_another_is_open() -> None:
    run = plan("c:condition x:http a:http d:http", "c>true>a a>d x>d")

    assert run.after(["c"], {"c": WENT_FALSE}) == Step((), ("a",))
    assert run.after(["x"], {"c": WENT_FALSE, "a": SKIPPED, "x": done()}) == Step(("d",))


# --- onError ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({}, OnError.STOP),
        ({"onError": ""}, OnError.STOP),
        ({"onError": None}, OnError.STOP),
        ({"onError": "stop"}, OnError.STOP),
        ({"onError": "continue"}, OnError.CONTINUE),
        ({"onError": "branch"}, OnError.BRANCH),
    ],
)
def test_a_failure_stops_the_run_unless_the_node_says_otherwise(
    config: dict[str, Any], mode: OnError
) -> None:
    run = plan("a:http", a=config)

    assert run.on_error("a") == mode
    assert run.stops("a", failed()) == (mode == OnError.STOP)
    assert not run.stops("a", done())
    assert not run.stops("a", SKIPPED)


def test_after_a_failure_that_stops_nothing_new_starts() -> None:
    run = plan("t:trigger a:http b:http c:http d:http", "t>a t>b a>c b>d")
    outcomes = {"t": done(), "a": failed(), "b": done()}

    assert run.after(["a", "b"], outcomes) == Step()
    assert run.ready(outcomes) == Step()


def test_the_error_names_the_node_and_the_reason_of_the_first_failure_that_stops() -> None:
    run = plan("a:http b:http c:http", a={"onError": "continue"})
    outcomes = {"a": failed("tolerated"), "c": failed("time is up"), "b": failed("later")}

    assert run.failure(outcomes) == "Node 'c' failed: time is up"
    assert run.failure({"a": failed()}) is None
    assert run.failure({"a": done()}) is None


def test_a_node_with_a_label_is_named_by_it() -> None:
    document = parse_document({"nodes": [{"id": "a", "type": "http", "label": "Fetch"}]})

    assert describe_failure(document.nodes[0], "HTTP 404") == "Node 'Fetch' (a) failed: HTTP 404"


def test_with_continue_the_children_get_the_error_and_the_run_goes_on() -> None:
    run = plan("a:http b:http", "a>b", a={"onError": "continue"})
    outcomes = {"a": failed("HTTP 500")}

    assert run.after(["a"], outcomes) == Step(("b",))
    assert run.node_input("b", outcomes) == {"error": {"nodeId": "a", "message": "HTTP 500"}}


def test_with_branch_only_the_error_connection_is_live() -> None:
    run = plan("a:http b:http oops:http", "a>b a>error>oops", a={"onError": "branch"})
    outcomes = {"a": failed("HTTP 500")}

    assert run.after(["a"], outcomes) == Step(("oops",), ("b",))
    assert run.node_input("oops", outcomes) == {"error": {"nodeId": "a", "message": "HTTP 500"}}
    assert run.after(["a"], {"a": done()}) == Step(("b",), ("oops",))


# --- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "manualInput", "trigger", "join", "output"])
def test_a_root_gets_null(kind: str) -> None:
    assert plan(f"a:{kind}").node_input("a", {}) is None


@pytest.mark.parametrize("payload", [{"x": 1}, [1], None])
def test_an_entry_node_gets_its_payload(payload: Any) -> None:
    drawn = graph("t:trigger")

    assert Plan(drawn, Start(frozenset("t"), {"t": payload})).node_input("t", {}) == payload


def test_a_manual_input_s_value_stands_in_its_config() -> None:
    drawn = graph("m:manualInput", m={"inputVarName": "x", "inputVarValue": 1})

    given = Plan(drawn, start_manually(drawn, {"m": 5}))

    assert given.node("m").config == {"inputVarName": "x", "inputVarValue": 5}
    assert plan("m:manualInput").node("m").config == {}


@pytest.mark.parametrize("output", [{"x": 1}, [1, 2], "text", 5, False, None])
def test_one_live_connection_brings_its_parent_s_output(output: Any) -> None:
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


def test_react_flow_s_handles_are_a_join_s_ports() -> None:
    drawn = Graph(
        parse_document(
            {
                "nodes": [{"id": i, "type": t} for i, t in (("a", "x"), ("b", "x"), ("j", "join"))],
                "edges": [
                    {"source": "a", "target": "j", "targetHandle": "B"},
                    {"source": "b", "target": "j", "targetHandle": "A"},
                ],
            }
        )
    )

    run = Plan(drawn, start_manually(drawn, None))

    assert run.node_input("j", {"a": done("a"), "b": done("b")}) == {"A": "b", "B": "a"}


# --- what it comes to -------------------------------------------------------------------------


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
        "what was skipped is no leaf",
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
def test_progress_counts_what_the_run_can_reach(nodes: str, ways: str, counted: str) -> None:
    run = plan(nodes, ways)

    assert run.counted == set(counted.split())
    assert run.progress({}) == Progress(len(counted.split()), 0, 0, 0)


def test_progress_tells_completed_failed_and_skipped_apart() -> None:
    run = plan("t:trigger w:webhook c:condition a:http b:http note:comment", "t>c c>a c>b t>note")
    outcomes = {
        "t": done(),
        "w": SKIPPED,
        "note": done(),
        "c": done(),
        "a": failed(),
        "b": SKIPPED,
    }

    assert run.progress(outcomes) == Progress(total=4, completed=2, failed=1, skipped=1)


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
def test_the_percentage_counts_what_is_done_and_is_100_only_when_finished(
    progress: Progress, finished: bool, percentage: int
) -> None:
    assert progress.percentage(finished=finished) == percentage
