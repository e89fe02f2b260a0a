"""Parked nodes and the time at which they continue."""

from datetime import UTC, datetime, timedelta

from engine.node_run_key import NodeRunKey
from engine.parking import ParkedNode, ParkedRetry, Resumption
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
