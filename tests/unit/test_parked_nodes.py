"""Parked nodes and the time at which they continue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.event_waits import ReceivedEvent
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import ParkedNode, ParkedRetry, Resumption, is_parking, park_error
from engine.status import NodeStatus
from engine.subworkflow_calls import ChildResult
from flows.execution.parked_nodes import ParkedNodes
from tests.support.plans import by_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def parked(**retries: ParkedRetry) -> ParkedNodes:
    return ParkedNodes(by_key(retries), lambda _: False)


def test_a_retry_is_due_at_its_time_or_when_it_is_resumed() -> None:
    nodes = parked(now=ParkedRetry(NOW), later=ParkedRetry(LATER), resumed=ParkedRetry(LATER))
    assert nodes.due_retries(NOW) == (NodeRunKey("now"),)
    nodes.apply({NodeRunKey("resumed"): Resumption()})
    assert nodes.due_retries(NOW) == (NodeRunKey("now"), NodeRunKey("resumed"))
    assert nodes.take_due(LATER) == {}


def test_a_retry_in_the_queue_does_not_wake_the_executor() -> None:
    """Otherwise the executor would poll without a pause until a node ends."""
    nodes = parked(now=ParkedRetry(NOW), later=ParkedRetry(LATER))
    assert nodes.next_due() == NOW
    assert nodes.next_due(queued=[NodeRunKey("now")]) == LATER
    assert nodes.next_due(queued=[NodeRunKey("now"), NodeRunKey("later")]) is None


def test_without_retries_only_other_nodes_count() -> None:
    wait = ParkedNode({"park": {"until": LATER.isoformat()}})
    nodes = ParkedNodes(by_key({"retry": ParkedRetry(NOW), "wait": wait}), lambda _: False)
    assert nodes.next_due(retries=False) == LATER


def _wait(until: datetime | None = NOW, **park: Any) -> dict[str, Any]:
    return {
        "message": "m",
        "outputData": {"a": 1},
        "park": {"until": until.isoformat() if until else None, **park},
    }


def test_a_wait_is_over_at_its_end_or_when_it_is_resumed() -> None:
    early = NOW - timedelta(microseconds=1)
    assert ParkedNode(_wait()).is_due(NOW)
    assert not ParkedNode(_wait()).is_due(early)
    assert ParkedNode(_wait(), Resumption()).is_due(early)
    assert not ParkedNode(_wait(None)).is_due(LATER)
    assert ParkedRetry(NOW).is_due(NOW)
    assert not ParkedRetry(NOW).is_due(early)
    assert ParkedRetry(LATER, resumed=True).is_due(NOW)


def test_a_wait_that_was_not_resumed_completes_or_fails_with_its_error() -> None:
    completed = Outcome(NodeStatus.COMPLETED, {"message": "m", "outputData": {"a": 1}})
    assert ParkedNode(_wait()).outcome() == completed
    assert ParkedNode(_wait(fail="late")).outcome() == Outcome(NodeStatus.ERROR, error="late")


@pytest.mark.parametrize(
    ("output", "data", "merged"),
    [
        ({"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, {}, {"a": 1}),
        (None, {"b": 2}, {"b": 2}),
        ([1], {"b": 2}, {"input": [1], "b": 2}),
        (0, {}, {"input": 0}),
    ],
)
def test_the_data_of_a_resumption_is_added_to_the_output(
    output: Any, data: dict[str, Any] | None, merged: Any
) -> None:
    wait = {**_wait(fail="late"), "outputData": output}
    outcome = ParkedNode(wait, Resumption(data=data)).outcome()
    assert outcome == Outcome(NodeStatus.COMPLETED, {"message": "m", "outputData": merged})


@pytest.mark.parametrize("approved", [True, False])
def test_an_approval_selects_a_connection_only_if_the_node_asks(approved: bool) -> None:
    decision = {"approved": approved, "conditionResult": approved}
    for asks, added in ((True, decision), (False, {})):
        outcome = ParkedNode(_wait(asks=asks), Resumption(approved)).outcome()
        assert outcome.result == {"message": "m", "outputData": {"a": 1}, **added}


CHILD = ChildResult("x", "W", "completed", None, '{"b": 2}')


@pytest.mark.parametrize(
    "resumption",
    [
        Resumption(),
        Resumption(approved=False, data={"a": 1}),
        Resumption(child=CHILD),
        Resumption(expired=True),
        Resumption(data={"a": 1}, event=ReceivedEvent("x", "paid", "7", "2026")),
    ],
)
def test_a_resumption_is_stored_and_read(resumption: Resumption) -> None:
    assert Resumption.from_json(resumption.as_json()) == resumption


def test_an_expired_wait_fails_and_still_knows_its_child() -> None:
    waits = _wait(fail="late", call={"workflowId": "w", "executionId": "x"})
    expired = ParkedNode(waits, Resumption(expired=True))
    assert (expired.outcome().error, expired.child_id) == ("late", "x")


def test_a_resumption_without_a_decision_approves() -> None:
    assert Resumption.from_json({}) == Resumption(approved=True, data=None)


def test_a_node_waits_for_its_child_until_it_has_the_result() -> None:
    call = {"workflowId": "w", "executionId": "x"}
    assert ParkedNode(_wait(None, call=call)).child_id == "x"
    assert ParkedNode(_wait(None, call=call), Resumption(child=CHILD)).child_id is None
    assert ParkedNode(_wait(None, call={"workflowId": "w"})).child_id is None
    assert ParkedNode(_wait()).child_id is None
    resumed = ParkedNode(_wait(None, call=call), Resumption(child=CHILD)).outcome()
    assert resumed.result["outputData"] == {"b": 2}
    assert resumed.result["childExecutionId"] == "x"


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        (ChildResult("x", "W", "completed", "e"), None),
        (ChildResult("x", "W", "cancelled", "e"), "subworkflow 'W' (execution x) was cancelled"),
        (ChildResult("x", None, "cancelled"), "subworkflow (execution x) was cancelled"),
        (ChildResult("x", "W", "failed", "e"), "subworkflow 'W' (execution x) failed: e"),
        (
            ChildResult("x", "W", "failed"),
            "subworkflow 'W' (execution x) failed: no reason is known",
        ),
        (
            ChildResult("x", "W", "paused", "e"),
            "subworkflow 'W' (execution x) ended with the status 'paused': e",
        ),
    ],
)
def test_a_child_that_did_not_complete_is_the_reason_of_a_failure(
    child: ChildResult, reason: str | None
) -> None:
    assert child.failure == reason
    outcome = child.outcome({"message": "called", "other": 1})
    if reason is None:
        assert outcome.result == {
            "message": "Subworkflow 'W' completed",
            "childExecutionId": "x",
            "outputData": None,
            "other": 1,
        }
    else:
        assert outcome == Outcome(NodeStatus.ERROR, error=reason)


def test_the_output_of_a_child_that_is_not_json_is_a_string() -> None:
    assert ChildResult("x", "W", "completed", None, "{").outcome({}).output == "{"


@pytest.mark.parametrize(
    ("call", "valid"),
    [
        (None, True),
        ({"workflowId": "w"}, True),
        ({"workflowId": "w", "inputs": {}}, True),
        ("w", False),
        ({}, False),
        ({"workflowId": ""}, False),
        ({"workflowId": "a\0"}, False),
        ({"workflowId": 1}, False),
        ({"workflowId": "w", "inputs": []}, False),
    ],
)
def test_a_call_names_a_workflow_and_its_inputs_are_an_object(call: Any, valid: bool) -> None:
    result = _wait(None, call=call)
    assert is_parking(result)
    assert (park_error(result) is None) is valid


def test_a_result_without_an_object_does_not_park() -> None:
    assert not is_parking({})
    assert not is_parking({"park": None})
    assert park_error({}) is None
    assert park_error({"park": None}) is not None
