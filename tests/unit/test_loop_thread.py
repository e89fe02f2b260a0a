"""Loop thread: a thread with an event loop accepts work, restarts after a crash, and ends."""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import pytest

from flows.worker.loop_thread import LoopThread

TIMEOUT_SECONDS = 20.0
variable = contextvars.ContextVar("variable", default="unset")


class Main:
    """The main function of a thread: it runs until ``end`` and can crash."""

    def __init__(self) -> None:
        self.thread = LoopThread("tests", self.run)
        self.starts = 0
        self.crash: BaseException | None = None
        self.ends: asyncio.Event | None = None
        self.before_ready: Callable[[], Awaitable[None]] | None = None

    async def run(self) -> None:
        self.starts += 1
        self.ends = asyncio.Event()
        if self.before_ready is not None:
            await self.before_ready()
        variable.set(f"start {self.starts}")
        self.thread.mark_ready()
        await self.ends.wait()
        if self.crash is not None:
            raise self.crash

    def end(self) -> None:
        assert self.ends is not None
        self.thread.call(self.ends.set)


@contextmanager
def running() -> Iterator[Main]:
    main = Main()
    main.thread.start().result(TIMEOUT_SECONDS)
    try:
        yield main
    finally:
        main.crash = None
        main.thread.disable_restart()
        main.end()
        assert asyncio.run(main.thread.join(TIMEOUT_SECONDS))


def result_of(thread: LoopThread, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return thread.submit(work).result(TIMEOUT_SECONDS)


async def nothing() -> None:
    return None


def test_a_thread_accepts_work_when_it_is_ready_and_until_it_has_ended() -> None:
    main = Main()
    assert not main.thread.accepts_work
    assert not main.thread.has_ended
    with pytest.raises(RuntimeError, match="does not accept work yet"):
        main.thread.submit(nothing)
    main.thread.call(lambda: pytest.fail("no loop runs"))
    may_start = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(may_start.wait, TIMEOUT_SECONDS)

    main.before_ready = wait
    ready = main.thread.start()
    assert not main.thread.accepts_work
    may_start.set()
    ready.result(TIMEOUT_SECONDS)
    assert main.thread.accepts_work
    assert not main.thread.has_ended
    # A daemon thread does not delay the exit of the interpreter.
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "tests"] == [True]
    assert asyncio.run(main.thread.join(0.01)) is False
    main.thread.disable_restart()
    main.end()
    assert asyncio.run(main.thread.join(TIMEOUT_SECONDS)) is True
    assert not main.thread.accepts_work
    assert main.thread.has_ended
    main.thread.call(lambda: pytest.fail("no loop runs"))


def test_an_error_at_the_start_ends_the_thread() -> None:
    main = Main()

    async def fail() -> None:
        raise ValueError("no database")

    main.before_ready = fail
    with pytest.raises(ValueError, match="no database"):
        main.thread.start().result(TIMEOUT_SECONDS)
    assert asyncio.run(main.thread.join(TIMEOUT_SECONDS))
    assert main.starts == 1
    assert main.thread.has_ended
    assert not main.thread.accepts_work


@pytest.mark.parametrize("crash", [ValueError("a defect"), SystemExit(3), None])
def test_a_loop_that_ends_or_crashes_is_replaced(crash: BaseException | None) -> None:
    with running() as main:
        lost = main.thread.submit(asyncio.Event().wait)
        assert result_of(main.thread, count_tasks(main.thread)) == 1
        restarted = threading.Event()

        async def notify() -> None:
            restarted.set()

        main.before_ready, main.crash = notify, crash
        main.end()
        assert restarted.wait(TIMEOUT_SECONDS)
        main.crash = None
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            lost.result(TIMEOUT_SECONDS)
        wait_for_start(main, 2)
        assert main.thread.accepts_work
        # The work of the previous loop is gone.
        assert result_of(main.thread, count_tasks(main.thread)) == 0


def wait_for_start(main: Main, number: int) -> None:
    """Wait until the loop with this number has marked the thread as ready."""

    async def read() -> str:
        return variable.get()

    for _ in range(10_000):
        try:
            if result_of(main.thread, read) == f"start {number}":
                return
        except RuntimeError:  # the previous loop is closed
            continue
    raise AssertionError(f"the loop {number} does not accept work")


def count_tasks(thread: LoopThread) -> Callable[[], Coroutine[Any, Any, int]]:
    async def count() -> int:
        return len(thread.submitted_tasks())

    return count


def test_work_runs_in_copies_of_the_context_of_the_loop() -> None:
    async def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    with running() as main:
        variable.set("of the caller")
        assert [result_of(main.thread, change) for _ in range(2)] == ["start 1", "start 1"]


def test_the_error_of_the_work_is_raised_for_the_caller_and_does_not_end_the_loop() -> None:
    async def fail() -> None:
        raise LookupError("missing")

    with running() as main:
        with pytest.raises(LookupError, match="missing"):
            result_of(main.thread, fail)
        assert result_of(main.thread, nothing) is None
        assert main.starts == 1
        assert result_of(main.thread, count_tasks(main.thread)) == 0


def test_work_continues_when_its_caller_is_cancelled() -> None:
    async def submit_and_cancel(thread: LoopThread) -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        may_end = threading.Event()

        async def work() -> None:
            await asyncio.to_thread(may_end.wait, TIMEOUT_SECONDS)
            loop.call_soon_threadsafe(ended.set)

        future = thread.submit(work)
        caller = asyncio.ensure_future(asyncio.wrap_future(future))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        may_end.set()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await ended.wait()
        assert not future.cancelled()

    with running() as main:
        asyncio.run(submit_and_cancel(main.thread))
