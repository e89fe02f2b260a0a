"""Off-loop work: which thread runs it, and how it is stopped."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from engine.json_encoding import size_within
from offload import MAX_INLINE_BYTES, WorkStoppedError, check_stop, run_off_loop, run_sized
from tasks.compute import compute

variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.mark.parametrize(
    ("size", "on_loop"), [(0, True), (MAX_INLINE_BYTES, True), (MAX_INLINE_BYTES + 1, False)]
)
async def test_work_that_reads_more_than_the_inline_limit_leaves_the_loop(size: int, on_loop: bool):
    thread = await run_sized(size, threading.get_ident)
    assert (thread == threading.get_ident()) is on_loop


async def test_off_loop_work_sees_the_context_of_its_caller():
    variable.set("set")
    assert await run_off_loop(variable.get) == "set"


async def test_an_error_of_off_loop_work_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        await run_off_loop(divmod, 1, 0)


async def test_cancelling_the_caller_stops_the_work():
    started, stopped = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        try:
            while True:
                check_stop()
        except WorkStoppedError:
            stopped.set()
            raise

    task = asyncio.create_task(run_off_loop(work))
    assert await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(stopped.wait, 10)


def test_work_without_a_caller_is_not_stopped():
    check_stop()


@pytest.mark.parametrize(("extra", "on_loop"), [(0, True), (1, False)])
async def test_a_handler_computes_on_the_loop_up_to_the_inline_limit(extra: int, on_loop: bool):
    frame = size_within("", MAX_INLINE_BYTES)
    assert frame is not None
    data = "x" * (MAX_INLINE_BYTES - frame + extra)
    thread = await compute(data, threading.get_ident)
    assert (thread == threading.get_ident()) is on_loop
