"""Properties of runs, for every workflow and every order in which nodes end."""

from hypothesis import given
from hypothesis import strategies as st

from engine.document import Connection
from engine.outcome import Outcome
from engine.scope_plan import ScopePlan
from engine.status import DECIDED, NodeStatus
from tests.support.generated import examples
from tests.support.plans import progress_of
from tests.support.simulated_runs import (
    Case,
    Driver,
    cases,
    expected_final_output,
    expected_input,
    fates,
    first,
    is_dead,
    reachable,
    taking_part,
)

thorough = examples(200)
seeds = st.integers(0, 2**32 - 1)
going_on = cases(stopping=False)
any_case = cases(stopping=True)


@thorough
@given(going_on, seeds)
def test_every_node_ends_exactly_once_as_the_contract_says(case: Case, seed: int) -> None:
    run = Driver(case, seed).drive()

    assert run.statuses == fates(case)
    assert run.outcomes.keys() == taking_part(case)
    assert all(outcome.status in DECIDED for outcome in run.outcomes.values())
    assert len(run.started) == len(set(run.started))
    assert set(run.started) == {i for i, fate in fates(case).items() if fate != "skipped"}


@thorough
@given(any_case, seeds)
def test_a_node_starts_once_all_connections_into_it_are_decided_and_one_is_live(
    case: Case, seed: int
) -> None:
    run = Driver(case, seed).drive()

    for node_id in run.started:
        ways = case.into(node_id)
        assert {way.source for way in ways} <= run.known_at_start[node_id]
        assert not ways or any(not is_dead(case, way, run.statuses[way.source]) for way in ways)


@thorough
@given(any_case, seeds)
def test_a_node_is_skipped_only_without_live_connections_or_as_an_unfired_entry(
    case: Case, seed: int
) -> None:
    run = Driver(case, seed).drive()

    for node_id, status in run.statuses.items():
        ways = case.into(node_id)
        dead = [way for way in ways if is_dead(case, way, run.statuses[way.source])]
        unfired = not ways and fates(case)[node_id] == "skipped"
        assert (status == "skipped") == (unfired or (bool(ways) and dead == ways))


@thorough
@given(any_case, seeds)
def test_after_a_failure_that_stops_nothing_new_starts(case: Case, seed: int) -> None:
    driver = Driver(case, seed)
    run = driver.drive()

    stopping = [
        i for i, o in run.outcomes.items() if o.error and case.nodes[i].on_error in ("stop", None)
    ]
    assert run.stopped_by == (stopping[0] if stopping else None)
    assert run.handed_out_after_stop == []
    assert run.statuses.items() <= fates(case).items()
    failure = driver.plan.failure(run.outcomes)
    if stopping:
        assert failure == f"Node '{stopping[0]}' failed: {stopping[0]} broke"
        recovered = driver.plan.ready(run.outcomes)
        assert (recovered.start, recovered.skip) == ((), ())
    else:
        assert failure is None
        assert run.outcomes.keys() == taking_part(case)


@thorough
@given(any_case, seeds)
def test_a_node_gets_the_data_of_its_live_connections(case: Case, seed: int) -> None:
    run = Driver(case, seed).drive()

    for node_id, data in run.inputs.items():
        expected = expected_input(case, node_id, fates(case))
        assert data == expected
        if isinstance(expected, dict) and case.nodes[node_id].type != "join":
            assert list(data) == list(expected)


@thorough
@given(going_on, seeds)
def test_the_final_output_is_that_of_the_outputs_reached_or_of_the_leaves(
    case: Case, seed: int
) -> None:
    driver = Driver(case, seed)
    run = driver.drive()

    assert driver.plan.final_output(run.outcomes) == expected_final_output(case, fates(case))


@thorough
@given(going_on, seeds, seeds)
def test_the_result_does_not_depend_on_the_order_in_which_nodes_end(
    case: Case, one_seed: int, other_seed: int
) -> None:
    one, other = Driver(case, one_seed), Driver(case, other_seed)
    this, that = one.drive(), other.drive()

    assert this.outcomes == that.outcomes
    assert this.inputs == that.inputs
    assert one.plan.final_output(this.outcomes) == other.plan.final_output(that.outcomes)
    assert progress_of(one.plan, this.outcomes) == progress_of(other.plan, that.outcomes)


@thorough
@given(any_case, seeds, seeds)
def test_runs_that_stop_agree_on_every_node_that_both_decided(
    case: Case, one_seed: int, other_seed: int
) -> None:
    one, other = Driver(case, one_seed).drive(), Driver(case, other_seed).drive()

    for node_id in one.outcomes.keys() & other.outcomes.keys():
        assert one.outcomes[node_id] == other.outcomes[node_id]
    for node_id in one.inputs.keys() & other.inputs.keys():
        assert one.inputs[node_id] == other.inputs[node_id]
    assert (one.stopped_by is None) == (other.stopped_by is None)


@thorough
@given(any_case, seeds)
def test_planning_step_by_step_is_planning_from_nothing(case: Case, seed: int) -> None:
    driver = Driver(case, seed)
    driver.begin()

    while True:
        if driver.run.stopped_by is None:
            step = driver.plan.ready(driver.run.outcomes)
            assert set(step.start) == {*driver.queued, *driver.in_flight}
            assert step.skip == ()
        if not driver.advance():
            break


@thorough
@given(going_on, seeds, seeds, st.data())
def test_a_run_that_continues_after_a_crash_ends_like_an_uninterrupted_one(
    case: Case, seed: int, seed_after: int, data: st.DataObject
) -> None:
    driver = Driver(case, seed)
    whole = driver.drive()
    survived = first(data.draw(st.integers(0, len(whole.outcomes))), whole.outcomes)

    recovered = Driver(case, seed_after).drive(survived)

    assert recovered.outcomes == whole.outcomes
    assert not set(recovered.started) & survived.keys()
    assert recovered.inputs.items() <= whole.inputs.items()
    assert driver.plan.final_output(recovered.outcomes) == driver.plan.final_output(whole.outcomes)


@thorough
@given(any_case, seeds)
def test_progress_counts_reachable_nodes_and_never_decreases(case: Case, seed: int) -> None:
    driver = Driver(case, seed)
    driver.begin()
    counted = reachable(case)
    before = 0

    while True:
        progress = progress_of(driver.plan, driver.run.outcomes)
        percentage = progress.percentage(finished=False)
        assert progress.total == len(counted)
        assert before <= percentage < 100
        assert progress.percentage(finished=True) == 100
        before = percentage
        if not driver.advance():
            break

    done = [driver.run.outcomes[i].status for i in counted & driver.run.outcomes.keys()]
    assert progress.completed == done.count(NodeStatus.COMPLETED)
    assert progress.failed == done.count(NodeStatus.ERROR)
    assert progress.skipped == done.count(NodeStatus.SKIPPED)
    if driver.run.stopped_by is None:
        assert len(done) == progress.total


@thorough
@given(going_on, seeds)
def test_step_by_step_no_connection_is_looked_at_twice(case: Case, seed: int) -> None:
    looked_at: list[str] = []

    class Counting(ScopePlan):
        def is_live(self, connection: Connection, outcome: Outcome) -> bool:
            looked_at.append(connection.id)
            return super().is_live(connection, outcome)

    class WithoutInputs(Counting):
        def node_input(self, *_: object) -> None:
            return None

    Driver(case, seed, plan=case.plan(WithoutInputs)).drive()

    assert len(looked_at) == len(set(looked_at))
