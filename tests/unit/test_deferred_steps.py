"""Deferred steps: one execution of an event loop at a time has them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from database.executions.journal_records import NodeChanges, NodeEnded, RecordedStep
from engine.status import NodeStatus
from flows.execution import deferred_steps
from flows.execution.deferred_steps import DeferredSteps
from flows.execution.signals import ExecutionSignals, StopReason
from tests.support.virtual_time import in_virtual_time

STEP = RecordedStep("2026-01-01T00:00:00.000Z", NodeChanges())


class Execution:
    """The deferred steps and the signals of one execution."""

    def __init__(self, turn: asyncio.Lock) -> None:
        self.signals = ExecutionSignals()
        self.steps = DeferredSteps(turn, self.signals, self._record)

    async def _record(self) -> None:
        self.steps.take()

    async def may_add(self, *, patient: bool = True) -> bool:
        return await self.steps.may_add(NodeChanges(), patient=patient)


@pytest.fixture
async def pair(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Execution, Execution]]:
    """Two executions; the first one has a deferred step, which nothing records meanwhile."""
    monkeypatch.setattr(deferred_steps, "MAX_STEP_DELAY_SECONDS", 600.0)
    turn = asyncio.Lock()
    first, second = Execution(turn), Execution(turn)
    assert await first.may_add()
    first.steps.add(STEP)
    yield first, second
    await first.steps.close()
    await second.steps.close()


async def _waits(task: asyncio.Future[bool]) -> bool:
    """Return whether a task still waits when nothing else in the loop has work."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


async def test_an_execution_waits_until_the_steps_of_another_one_are_recorded(
    pair: tuple[Execution, Execution],
) -> None:
    first, second = pair
    assert not await second.may_add(patient=False)
    waiting = asyncio.ensure_future(second.may_add())
    assert await _waits(waiting)
    assert first.steps.take() == [STEP]
    assert await waiting
    second.steps.add(STEP)
    assert not await first.may_add(patient=False)


async def test_a_signal_does_not_end_the_wait_and_reaches_the_executor(
    pair: tuple[Execution, Execution],
) -> None:
    first, second = pair
    waiting = asyncio.ensure_future(second.may_add())
    assert await _waits(waiting)
    second.signals.notify_resumed()
    assert await _waits(waiting)
    first.steps.take()
    assert await waiting
    second.steps.add(STEP)
    async with asyncio.timeout(30):
        await second.signals.wait_for_signal()


@pytest.mark.parametrize(
    "stop", [lambda signals: signals.stop(StopReason.CANCEL), lambda signals: signals.drain()]
)
async def test_an_execution_that_must_stop_waits_no_longer_and_leaves_the_turn(
    pair: tuple[Execution, Execution], stop: Callable[[ExecutionSignals], None]
) -> None:
    first, second = pair
    waiting = asyncio.ensure_future(second.may_add())
    assert await _waits(waiting)
    stop(second.signals)
    assert not await waiting
    first.steps.take()
    assert await first.may_add(patient=False)
    first.steps.add(STEP)


async def test_a_cancelled_wait_leaves_the_turn(pair: tuple[Execution, Execution]) -> None:
    first, second = pair
    waiting = asyncio.ensure_future(second.may_add())
    assert await _waits(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.steps.take()
    assert await first.may_add(patient=False)
    first.steps.add(STEP)


def _changes(*lengths: int) -> NodeChanges:
    """Return rows of ended nodes whose outputs have these lengths."""
    outputs = ("x" * length for length in lengths)
    return NodeChanges([NodeEnded("a", NodeStatus.COMPLETED, 1, output) for output in outputs])


async def test_deferred_steps_have_at_most_100_rows() -> None:
    for rows, more, deferred in ((0, 100, True), (0, 101, False), (60, 40, True), (60, 41, False)):
        execution = Execution(asyncio.Lock())
        if rows:
            assert await execution.steps.may_add(_changes(*[0] * rows), patient=True)
            execution.steps.add(replace(STEP, changes=_changes(*[0] * rows)))
        assert await execution.steps.may_add(_changes(*[0] * more), patient=True) is deferred
        execution.steps.take()


async def test_a_deferred_step_has_at_most_262144_characters() -> None:
    for lengths, deferred in (((262_143, 1), True), ((262_144, 1), False)):
        execution = Execution(asyncio.Lock())
        assert await execution.steps.may_add(_changes(*lengths), patient=True) is deferred


async def test_an_execution_that_must_stop_defers_no_step() -> None:
    for stop in ("stop", "drain", "failed"):
        turn = asyncio.Lock()
        execution = Execution(turn)
        if stop == "stop":
            execution.signals.stop(StopReason.CANCEL)
        elif stop == "drain":
            execution.signals.drain()
        else:
            execution.steps.put_back([])
            assert execution.steps.failed
        assert not await execution.may_add()
        assert not turn.locked()


@in_virtual_time
async def test_the_time_of_the_first_deferred_step_counts() -> None:
    execution, moments = Execution(asyncio.Lock()), list[tuple[float, int]]()

    async def record() -> None:
        taken = execution.steps.take()
        moments.append((round(asyncio.get_running_loop().time(), 3), len(taken)))

    execution.steps = DeferredSteps(asyncio.Lock(), execution.signals, record)
    for _ in range(3):
        assert await execution.may_add()
        execution.steps.add(STEP)
        assert execution.steps
        await asyncio.sleep(0.008)
    assert moments == [(0.02, 3)]
    assert not execution.steps
    assert await execution.may_add()
    execution.steps.add(STEP)
    await asyncio.sleep(0.01)
    assert execution.steps.take() == [STEP]  # The caller records them, so that no timer is left.
    await asyncio.sleep(1)
    assert moments == [(0.02, 3)]
    await execution.steps.close()
    assert moments == [(0.02, 3)]


@in_virtual_time
async def test_a_close_waits_for_the_current_record_and_drops_its_failed_steps() -> None:
    turn = asyncio.Lock()
    signals, held = ExecutionSignals(), asyncio.Event()

    async def record() -> None:
        taken = steps.take()
        await held.wait()
        steps.put_back(taken)
        raise RuntimeError("broke")

    steps = DeferredSteps(turn, signals, record)
    assert await steps.may_add(STEP.changes, patient=True)
    steps.add(STEP)
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(steps.close())
    await asyncio.sleep(1)
    assert not closing.done()
    held.set()
    await closing
    assert not steps
    assert not steps.failed
    assert not turn.locked()
    await asyncio.wait_for(signals.wait_for_signal(), 1)


@in_virtual_time
async def test_dropped_steps_leave_the_turn() -> None:
    turn = asyncio.Lock()
    steps = DeferredSteps(turn, ExecutionSignals(), lambda: asyncio.sleep(0))
    assert await steps.may_add(STEP.changes, patient=True)
    steps.add(STEP)
    await steps.close()
    assert not turn.locked()
    assert steps.take() == []
    assert not turn.locked()


async def test_a_wait_without_a_signal_gives_none_to_the_executor(
    pair: tuple[Execution, Execution],
) -> None:
    first, second = pair
    waiting = asyncio.ensure_future(second.may_add())
    assert await _waits(waiting)
    first.steps.take()
    assert await waiting
    second.steps.add(STEP)
    signal = asyncio.ensure_future(second.signals.wait_for_signal())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not signal.done()
    signal.cancel()
