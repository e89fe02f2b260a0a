"""Deferred steps: one execution of an event loop at a time has them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from database.executions.journal_records import NodeChanges, RecordedStep
from flows.execution import deferred_steps
from flows.execution.deferred_steps import DeferredSteps
from flows.execution.signals import ExecutionSignals, StopReason

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
