"""Execution signals: each signal wakes the executor once, in virtual time."""

import asyncio
from collections.abc import Callable

import pytest

from flows.execution.signals import ExecutionSignals, StopReason
from tests.support.virtual_time import run

HOUR = 3_600.0
SIGNALS: dict[str, Callable[[ExecutionSignals], None]] = {
    "stop": lambda signals: signals.stop(StopReason.CANCEL),
    "drain": lambda signals: signals.drain(),
    "resumption": lambda signals: signals.notify_resumed(),
}


async def wake_ups(signals: ExecutionSignals) -> int:
    """Return how often the signals wake an executor within an hour."""
    count = 0
    try:
        async with asyncio.timeout(HOUR):
            while count < 10:
                await signals.wait_for_signal()
                count += 1
                await asyncio.sleep(1)
    except TimeoutError:
        return count
    raise AssertionError("the signals wake the executor again and again")


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_wakes_the_executor_once(name: str) -> None:
    async def main() -> None:
        signals = ExecutionSignals()
        assert await wake_ups(signals) == 0
        SIGNALS[name](signals)
        SIGNALS[name](signals)
        assert await wake_ups(signals) == 1
        SIGNALS[name](signals)
        assert await wake_ups(signals) == 1

    run(main())


def test_the_first_reason_to_stop_is_kept() -> None:
    signals = ExecutionSignals()
    assert signals.reason is None
    signals.stop(StopReason.TIMEOUT)
    signals.stop(StopReason.CANCEL)
    assert signals.reason == StopReason.TIMEOUT
