"""Start queue: how many node runs start at a time, and in which order."""

from engine.loops import Loop
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from flows.execution.start_queue import MAX_STARTS_PER_STEP, StartQueue
from tests.support.plans import PlannedRun, by_key, done, failed, graph

MANY = [NodeRunKey(f"n{number}") for number in range(100)]


def queue(max_in_flight: int = 1_000) -> StartQueue:
    states = PlannedRun(graph("a:http")).plan.new_states()
    starts = StartQueue(states, {}, max_in_flight)
    starts.add(MANY)
    return starts


def test_a_step_starts_at_most_twenty_node_runs_in_their_order() -> None:
    starts = queue()
    assert MAX_STARTS_PER_STEP == 20
    assert starts.take(0) == MANY[:20]
    assert starts.take(19) == MANY[20:40]


def test_no_more_node_runs_are_in_flight_than_the_maximum() -> None:
    assert queue(10).take(0) == MANY[:10]
    assert queue(10).take(7) == MANY[:3]
    assert queue(10).take(10) == []
    assert queue(10).take(11) == []


def test_above_twenty_in_flight_as_many_start_as_have_ended() -> None:
    starts = queue()
    starts.last_ended = 3
    assert len(starts.take(19)) == 20
    assert len(starts.take(20)) == 3
    assert len(starts.take(25)) == 3
    starts.last_ended = 0
    assert len(starts.take(25)) == 20


def test_a_queue_knows_what_it_holds_and_whether_it_is_empty() -> None:
    starts = queue()
    assert starts
    assert MANY[0] in starts
    assert starts.seconds_until_growth() == 0.1
    starts.clear()
    assert not starts
    assert MANY[0] not in starts
    assert starts.seconds_until_growth() is None
    assert starts.take(0) == []


def test_node_runs_that_are_added_first_start_first_and_once() -> None:
    starts = queue()
    again = NodeRunKey("again")
    starts.add_first([MANY[5], again])
    assert starts.take(0)[:2] == [again, MANY[0]]
    assert MANY[5] not in starts
    assert len(starts.take(0)) == 20


def test_a_node_run_of_a_cancelled_scope_does_not_start() -> None:
    run = PlannedRun(graph("each:forEach a:x b:x", "each>item>a a>b"))
    loops = {"each": Loop([1, 2], concurrency=2, continues_on_error=True)}
    outcomes: dict[str, Outcome] = {}
    run.ready(outcomes, loops)
    outcomes |= {"a[0]": failed(), "a[1]": done()}
    run.after(["a[0]", "a[1]"], outcomes, loops)
    starts = StartQueue(run.states, by_key(outcomes), 10)
    starts.add([NodeRunKey("b", (0,)), NodeRunKey("b", (1,))])
    assert starts.take(0) == [NodeRunKey("b", (1,))]
