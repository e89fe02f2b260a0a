"""State of one execution in memory: sizes, times, waiting nodes and the progress of loops."""

import asyncio
from datetime import timedelta

import pytest

from database.executions.journal_records import JournalState, NodeEnded, TimeSpent
from engine.errors import NodeError
from engine.limits import RunLimits
from engine.loops import Loop
from engine.node_run_key import NodeRunKey
from engine.parking import ParkedNode, ParkedRetry, Resumption
from engine.status import NodeStatus
from flows.execution.loop_progress import LoopProgress
from flows.execution.node_times import NodeTimes
from flows.execution.parked_nodes import ParkedNodes
from flows.execution.signals import ExecutionSignals, StopReason
from flows.execution.stored_sizes import StoredSizes, bytes_of
from tests.support.executor_runs import START, now, virtual_monotonic_time
from tests.support.virtual_time import in_virtual_time

A, B, C = (NodeRunKey(name) for name in "abc")


# Sizes


def sizes(maximum: int, stored: int = 0, inputs: str | None = None) -> StoredSizes:
    record = JournalState("e1", "{}", inputs, 0, cancel_requested=False, stored_bytes=stored)
    return StoredSizes(RunLimits(execution_bytes=maximum), record)


def _ended(output: str, detail: str | None = None) -> NodeEnded:
    return NodeEnded("a", NodeStatus.COMPLETED, 1, output, detail)


def test_the_size_of_a_text_is_that_of_its_utf_8() -> None:
    texts = {None: 0, "": 0, "abc": 3, "é": 2, "a😀": 5}
    assert {text: bytes_of(text) for text in texts} == texts


def test_an_execution_starts_with_its_inputs_or_with_the_size_of_its_earlier_owner() -> None:
    assert sizes(9, stored=0, inputs="aé").stored == 3
    assert sizes(9, stored=7, inputs="aé").stored == 7
    assert sizes(9).stored == 0


def test_an_execution_may_store_its_maximum_and_no_byte_more() -> None:
    found = sizes(10, stored=4)
    with pytest.raises(NodeError, match=r"with the input of the node .* more than 10 bytes"):
        found.add_input("x" * 7)
    assert found.stored == 4
    found.add_input("x" * 6)
    assert found.stored == 10
    found = sizes(10, stored=4)
    with pytest.raises(NodeError, match="with the result of the node"):
        found.add_result(_ended("xx", "xx"))
    assert found.stored == 4
    found.add_result(_ended("xx", "x"))
    assert found.stored == 10


def test_sizes_that_are_counted_in_any_case_may_exceed_the_maximum() -> None:
    found = sizes(10)
    found.count(_ended("xxxx", "xxx"))
    assert found.stored == 14
    found.add_rows(3)
    assert found.stored == 14 + 3 * 512
    with pytest.raises(NodeError):
        found.add_input("x")


# Times


@in_virtual_time
async def test_the_working_time_is_the_sum_of_all_attempts() -> None:
    times = NodeTimes({A: TimeSpent(40, 500)}, now)
    with virtual_monotonic_time():
        for expected in (290, 540):
            times.start(A)
            await asyncio.sleep(0.25)
            assert times.stop(A) == expected
            await asyncio.sleep(3)
            assert times.stop(A) == expected
        assert times.stop(B) == 0
        times.start(C)
        await asyncio.sleep(1)
        assert times.stop(C) == 1000


@in_virtual_time
async def test_the_waiting_time_is_the_sum_of_all_waits() -> None:
    earlier = {A: TimeSpent(40, 500), B: TimeSpent(waiting_since=START - timedelta(seconds=2))}
    times = NodeTimes(earlier, now)
    assert times.resume(A) is None
    assert times.resume(C) is None
    await asyncio.sleep(1)
    assert times.park(A) == "2026-01-01T00:00:01.000Z"
    assert times.park(C) == "2026-01-01T00:00:01.000Z"
    await asyncio.sleep(1.25)
    assert times.resume(A) == 1750
    assert times.resume(A) is None
    assert times.resume(B) == 4250
    assert times.resume(C) == 1250
    times.park(A)
    await asyncio.sleep(1)
    assert times.resume(A) == 2750
    assert times.stop(A) == 40
    assert times.stop(B) == times.stop(C) == 0


def test_a_wait_whose_start_is_in_the_future_took_no_time() -> None:
    """The clocks of two services may differ."""
    times = NodeTimes({A: TimeSpent(0, 5, START + timedelta(seconds=9))}, lambda: START)
    assert times.resume(A) == 5


# Waiting nodes

LATER = START + timedelta(hours=1)


def _parked(until: object = START, **park: object) -> ParkedNode:
    text = START.isoformat() if until is START else None
    return ParkedNode({"outputData": [1], "park": {"until": text, **park}})


def test_waiting_nodes_are_added_and_taken() -> None:
    nodes = ParkedNodes({}, lambda key: key == B)
    assert not nodes
    nodes.add(A, _parked())
    nodes.add(B, _parked(None, forEach={"concurrency": 3}))
    nodes.add(C, ParkedRetry(LATER))
    assert nodes
    assert list(nodes) == [A, B, C]
    assert A in nodes
    assert nodes.loops == {B: Loop([1], 3)}
    assert nodes.take(B) == _parked(None, forEach={"concurrency": 3})
    assert nodes.loops == {}
    assert list(nodes) == [A, C]
    assert B not in nodes


def test_only_a_loop_waits_for_items_and_only_other_nodes_can_be_resumed() -> None:
    loop, other = _parked(None, forEach={}), _parked(None)
    assert ParkedNodes({A: loop}, lambda _: False).loops == {}
    assert ParkedNodes({A: other}, lambda _: True).loops == {}
    assert ParkedNodes({A: ParkedRetry(START)}, lambda _: True).loops == {}
    assert not ParkedNodes({}, lambda _: True).can_be_resumed
    assert not ParkedNodes({A: loop}, lambda _: True).can_be_resumed
    assert ParkedNodes({A: loop}, lambda _: False).can_be_resumed
    assert ParkedNodes({A: loop, B: other}, lambda _: True).can_be_resumed


def test_only_waits_that_something_else_may_resume_expire() -> None:
    early = START - timedelta(microseconds=1)
    nodes = ParkedNodes(
        {A: _parked(), B: _parked(START, forEach={}), C: ParkedRetry(START)}, lambda key: key == B
    )
    assert nodes.expired(early) == []
    assert nodes.expired(START) == [A]
    nodes.apply({A: Resumption(expired=True)})
    assert nodes.expired(START) == []


def test_a_resumption_of_a_node_that_no_longer_waits_has_no_effect() -> None:
    nodes = ParkedNodes({A: _parked(None)}, lambda _: False)
    nodes.apply({B: Resumption(), A: Resumption(data={"n": 1})})
    assert list(nodes) == [A]
    assert list(nodes.take_due(START)) == [A]
    assert list(nodes) == []
    assert not nodes


def test_the_children_of_waiting_nodes_are_known() -> None:
    child = _parked(None, call={"workflowId": "w", "executionId": "x"})
    nodes = ParkedNodes({A: child, B: _parked(), C: ParkedRetry(START)}, lambda _: False)
    assert nodes.children() == {A: "x"}
    assert list(nodes.take_due(START)) == [B]
    assert list(nodes) == [A, C]


# Loops


@in_virtual_time
async def test_a_loop_is_reported_when_items_have_ended_and_the_interval_is_over() -> None:
    ended: dict[NodeRunKey, tuple[int, int]] = {A: (0, 8), B: (1, 3)}
    progress = LoopProgress(ended.get)
    with virtual_monotonic_time():
        assert progress.due([A, B, C]) == [(B, 33, "1 of 3 items are done")]
        ended[A], ended[B] = (1, 8), (3, 3)
        assert progress.due([A, B]) == [(A, 12, "1 of 8 items are done")]
        await asyncio.sleep(0.999)
        assert progress.due([A, B]) == []
        await asyncio.sleep(0.002)
        assert progress.due([A, B]) == [(B, 100, "3 of 3 items are done")]
        await asyncio.sleep(5)
        assert progress.due([A, B]) == []


# Signals


async def test_the_first_reason_to_stop_is_kept() -> None:
    signals = ExecutionSignals()
    assert (signals.reason, signals.draining, signals.uses_limit) == (None, False, False)
    signals.mark_limited()
    assert signals.uses_limit
    signals.stop(StopReason.TIMEOUT)
    signals.stop(StopReason.CANCEL)
    assert signals.reason == StopReason.TIMEOUT
    await asyncio.wait_for(signals.wait_for_signal(), 10)
    waiting = asyncio.ensure_future(signals.wait_for_signal())
    await asyncio.sleep(0)
    assert not waiting.done()
    signals.drain()
    await asyncio.wait_for(waiting, 10)
    assert signals.draining
    signals.notify_resumed()
    await asyncio.wait_for(signals.wait_for_signal(), 10)
