"""Plan: nodes that start and are skipped, and live connections (contract, section 5)."""

from typing import Any

import pytest

from engine.data_flow import error_mode
from engine.document import parse_document
from engine.inputs import start_at_entry
from engine.options import OnError
from engine.outcome import SKIPPED, Outcome, ScopeStep, describe_failure
from engine.scope_plan import ScopePlan
from tests.support.plans import ROWS, WENT_FALSE, WENT_TRUE, done, failed, graph, plan

DIAMOND = ("t:trigger a:http b:http c:http", "t>a t>b a>c b>c")


# --- what starts ------------------------------------------------------------------------------


def test_roots_start_the_run() -> None:
    assert plan("t:trigger m:manualInput a:http b:http", "t>b").ready({}) == ScopeStep(
        ("t", "m", "a")
    )


def test_an_entry_node_that_is_not_fired_is_skipped_and_so_is_what_only_it_feeds() -> None:
    run = plan("t:trigger w:webhook a:http b:http c:http", "w>a a>b t>c b>c")

    assert run.ready({}) == ScopeStep(("t",), ("w", "a", "b"))


def test_a_delivery_fires_its_webhook_and_other_roots_run_all_the_same() -> None:
    drawn = graph("t:trigger w:webhook v:webhook m:manualInput a:http", "t>a")

    step = ScopePlan(drawn, start_at_entry("w", {})).ready({})

    assert step == ScopeStep(("w", "m"), ("t", "a", "v"))


def test_an_entry_node_that_is_fed_by_another_node_runs_like_any_other() -> None:
    assert plan("a:http t:trigger", "a>t").after(["a"], {"a": done()}) == ScopeStep(("t",))


def test_a_comment_without_connections_is_not_part_of_the_run() -> None:
    run = plan("t:trigger note:comment")

    assert run.ready({}) == ScopeStep(("t",))
    assert len(run.counted) == 1


def test_a_comment_inside_a_path_runs() -> None:
    assert plan("t:trigger note:comment", "t>note").after(["t"], {"t": done()}) == ScopeStep(
        ("note",)
    )


def test_a_node_starts_as_soon_as_every_connection_into_it_is_decided() -> None:
    run = plan(*DIAMOND)

    assert run.after(["t"], {"t": done()}) == ScopeStep(("a", "b"))
    assert run.after(["a"], {"t": done(), "a": done()}) == ScopeStep()
    assert run.after(["b"], {"t": done(), "a": done(), "b": done()}) == ScopeStep(("c",))


def test_the_lower_node_of_a_diamond_runs_once_though_both_sides_end_together() -> None:
    assert plan(*DIAMOND).after(["a", "b"], {i: done() for i in "tab"}) == ScopeStep(("c",))


def test_a_run_that_continues_after_a_crash_starts_only_the_nodes_in_flight() -> None:
    assert plan(*DIAMOND).ready({"t": done(), "a": done()}) == ScopeStep(("b",))


@pytest.mark.parametrize("ended", [{}, {"t": done()}, {i: done() for i in "tab"}])
def test_planning_twice_returns_the_same_step(ended: dict[str, Outcome]) -> None:
    run = plan(*DIAMOND)

    assert run.ready(ended) == run.ready(ended)


def test_when_all_is_decided_nothing_follows() -> None:
    assert plan(*DIAMOND).ready({i: done() for i in "tabc"}) == ScopeStep()


# --- what is live -----------------------------------------------------------------------------

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


def test_the_decision_of_an_approval_selects_the_connections() -> None:
    run = plan("p:approval yes:http no:http", "p>true>yes p>false>no")

    assert run.after(["p"], {"p": WENT_FALSE}) == ScopeStep(("no",), ("yes",))


def test_a_node_all_of_whose_connections_are_dead_is_skipped_and_so_on_downstream() -> None:
    run = plan("c:condition a:http b:http d:http", "c>true>a a>b b>d c>d")

    assert run.after(["c"], {"c": WENT_FALSE}) == ScopeStep(("d",), ("a", "b"))


def test_one_live_connection_is_enough() -> None:
    run = plan("c:condition a:http b:http d:http", "c>true>a c>false>b a>d b>d")
    outcomes = {"c": WENT_TRUE, "b": SKIPPED, "a": done()}

    assert run.after(["a"], outcomes) == ScopeStep(("d",))


def test_a_dead_connection_decides_nothing_while_another_is_open() -> None:
    run = plan("c:condition x:http a:http d:http", "c>true>a a>d x>d")

    assert run.after(["c"], {"c": WENT_FALSE}) == ScopeStep((), ("a",))
    assert run.after(["x"], {"c": WENT_FALSE, "a": SKIPPED, "x": done()}) == ScopeStep(("d",))


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

    assert error_mode(run.graph.nodes["a"]) == mode
    assert run.stops("a", failed()) == (mode == OnError.STOP)
    assert not run.stops("a", done())
    assert not run.stops("a", SKIPPED)


def test_after_a_failure_that_stops_nothing_new_starts() -> None:
    run = plan("t:trigger a:http b:http c:http d:http", "t>a t>b a>c b>d")
    outcomes = {"t": done(), "a": failed(), "b": done()}

    assert run.after(["a", "b"], outcomes) == ScopeStep()
    assert run.ready(outcomes) == ScopeStep()


def test_the_error_names_the_node_and_the_reason_of_the_first_failure_that_stops() -> None:
    run = plan("a:http b:http c:http", a={"onError": "continue"})
    outcomes = {"a": failed("tolerated"), "c": failed("time is up"), "b": failed("later")}

    assert run.failure(outcomes) == "Node 'c' failed: time is up"
    assert run.failure({"a": failed()}) is None
    assert run.failure({"a": done()}) is None


def test_a_node_with_a_label_is_named_by_it() -> None:
    document = parse_document({"nodes": [{"id": "a", "type": "http", "label": "Fetch"}]})

    assert describe_failure(document.nodes[0], "HTTP 404") == "Node 'Fetch' (a) failed: HTTP 404"


def test_with_continue_the_following_nodes_get_the_error() -> None:
    run = plan("a:http b:http", "a>b", a={"onError": "continue"})
    outcomes = {"a": failed("HTTP 500")}

    assert run.after(["a"], outcomes) == ScopeStep(("b",))
    assert run.node_input("b", outcomes) == {"error": {"nodeId": "a", "message": "HTTP 500"}}


def test_with_branch_only_the_error_connection_is_live() -> None:
    run = plan("a:http b:http oops:http", "a>b a>error>oops", a={"onError": "branch"})
    outcomes = {"a": failed("HTTP 500")}

    assert run.after(["a"], outcomes) == ScopeStep(("oops",), ("b",))
    assert run.node_input("oops", outcomes) == {"error": {"nodeId": "a", "message": "HTTP 500"}}
    assert run.after(["a"], {"a": done()}) == ScopeStep(("b",), ("oops",))
