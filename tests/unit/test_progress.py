"""Progress reports of handlers, in virtual time: throttled, truncated, never lost."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from contextvars import copy_context
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from flows.nodes.progress import AttemptProgress
from tasks.masking import secret_masker
from tasks.progress import MAX_MESSAGE_CHARS, report_progress, send_delta
from tests.support.progress_recorder import ProgressRecorder, record_attempt
from tests.support.virtual_time import run

# Progress


def test_the_first_report_is_written_at_once_then_one_a_second_and_always_the_last():
    async def handler() -> None:
        for step in range(31):  # three seconds, ten reports each
            report_progress(step)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)

    written = record_attempt(handler).written
    assert [moment for moment, *_ in written[:4]] == [0.0, 1.0, 2.0, 3.0]
    assert [row[1] for row in written[:3]] == [
        0,
        pytest.approx(10, abs=1),
        pytest.approx(20, abs=1),
    ]
    assert written[-1][1] == 30
    assert len(written) <= 5


def test_the_last_report_is_written_when_the_interval_is_over():
    async def handler() -> None:
        report_progress(1)
        await asyncio.sleep(0.2)
        report_progress(2)
        report_progress(3, "nearly")
        await asyncio.sleep(5)

    assert record_attempt(handler).written == [(0.0, 1, None), (1.0, 3, "nearly")]


def test_a_truncated_secret_in_a_message_is_masked():
    secret_masker.add_secret("an-unfinished-report-s3cret")

    async def handler() -> None:
        report_progress(1, "." * (MAX_MESSAGE_CHARS - 20) + "an-unfinished-report-s3cret")
        await asyncio.sleep(1)

    assert record_attempt(handler).written == [(0.0, 1, "." * (MAX_MESSAGE_CHARS - 20) + "***")]


def test_an_unchanged_report_is_not_written_again():
    async def handler() -> None:
        for _ in range(50):
            report_progress(7, "same")
            await asyncio.sleep(0.1)
        report_progress(8)
        await asyncio.sleep(0.1)

    written = record_attempt(handler).written
    assert [row[1:] for row in written] == [(7, "same"), (8, "same")]


def test_omitted_values_are_kept_and_an_empty_message_removes_the_last_one():
    async def handler() -> None:
        steps: list[dict[str, Any]] = [
            {"percentage": 5},
            {"message": "a"},
            {"percentage": 9},
            {"message": ""},
            {},
        ]
        for given in steps:
            report_progress(**given)
            await asyncio.sleep(1.5)

    rows = [row[1:] for row in record_attempt(handler).written]
    assert rows == [(5, None), (5, "a"), (9, "a"), (9, None)]


def test_nothing_is_written_after_the_node_ended():
    async def handler() -> None:
        report_progress(1)
        await asyncio.sleep(0.5)
        report_progress(99)

    assert [row[1] for row in record_attempt(handler).written] == [1]


def test_a_write_that_is_pending_at_the_end_of_the_attempt_is_dropped():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()
        watcher.hold = asyncio.Event()

        async def handler() -> None:
            report_progress(50)
            await asyncio.sleep(0.1)

        await watcher.attempt(handler)  # the pending write does not delay the attempt …
        watcher.hold.set()
        await watcher.reports.settle()  # … and is dropped
        return watcher

    assert run(body()).written == []


def test_reports_of_a_cancelled_handler_that_continues_are_ignored():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()

        async def handler() -> None:
            report_progress(1)
            send_delta("before")
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                report_progress(2)
                send_delta("after")
                await asyncio.sleep(1.5)
                report_progress(3)
                raise

        task = asyncio.create_task(watcher.attempt(handler))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(5)
        await watcher.reports.settle()
        return watcher

    watcher = run(body())
    assert [row[1] for row in watcher.written] == [1]
    assert watcher.text == "before"


def test_parts_that_a_cancelled_attempt_has_not_sent_are_dropped():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()

        async def handler() -> None:
            send_delta("unsent")
            await asyncio.sleep(100)

        task = asyncio.create_task(watcher.attempt(handler))
        await asyncio.sleep(0.01)  # the parts are sent every 0.05 s
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(5)
        await watcher.reports.settle()
        return watcher

    assert run(body()).published == []


def test_a_new_attempt_starts_without_a_report_and_ignores_the_previous_attempt():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder(attempts_before=2)
        late: list[Callable[[], Any]] = []

        async def first() -> None:
            report_progress(40, "first")
            send_delta("one")
            context = copy_context()
            late.append(lambda: context.run(lambda: (report_progress(99), send_delta("late"))))
            await asyncio.sleep(2)

        async def second() -> None:
            late[0]()
            report_progress(40)
            send_delta("two")
            await asyncio.sleep(2)

        await watcher.attempt(first)
        await watcher.attempt(second)
        await watcher.reports.settle()
        return watcher

    watcher = run(body())
    assert [row[1:] for row in watcher.written] == [(40, "first"), (40, None)]
    assert [(m["attempt"], m["delta"]) for m in watcher.published] == [(3, "one"), (4, "two")]


def test_a_second_attempt_keeps_the_interval_between_writes():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()

        async def quick() -> None:
            report_progress(10)
            await asyncio.sleep(0.1)

        for _ in range(50):
            await watcher.attempt(quick)
        await watcher.reports.settle()
        return watcher

    moments = [row[0] for row in run(body()).written]
    assert len(moments) >= 4
    assert all(b - a >= 0.999 for a, b in pairwise(moments))


def test_nothing_is_written_once_the_walk_stops_its_nodes():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()

        async def handler() -> None:
            await asyncio.sleep(0.1)
            report_progress(1)
            await asyncio.sleep(0.1)

        watcher.reports.close()
        await watcher.attempt(handler)
        return watcher

    assert run(body()).written == []


def test_a_failed_write_does_not_fail_the_node():
    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder()
        watcher.error = RuntimeError("the lease is lost")

        async def handler() -> str:
            report_progress(1)
            await asyncio.sleep(0.5)
            watcher.error = None
            report_progress(2)
            await asyncio.sleep(2)
            return "done"

        assert await watcher.attempt(handler) == "done"
        await watcher.reports.settle()
        return watcher

    assert run(body()).written == [(1.0, 2, None)]


def test_a_hundred_thousand_reports_from_a_thread_are_cheap():
    report_seconds, encoding_seconds = 0.0, 0.0
    wakeups = 0

    def flood() -> None:
        nonlocal report_seconds, encoding_seconds
        begun = time.thread_time()
        for step in range(100_000):
            report_progress(step / 1_000, "on")
        reported = time.thread_time()
        for step in range(100_000):
            json.dumps({"percentage": step / 1_000, "message": "on"})
        report_seconds, encoding_seconds = reported - begun, time.thread_time() - reported

    async def body() -> ProgressRecorder:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def count(*args: Any, **options: Any) -> asyncio.Handle:
            nonlocal wakeups
            wakeups += 1
            return wake(*args, **options)

        loop.call_soon_threadsafe = count  # type: ignore[method-assign]
        watcher = ProgressRecorder()
        await watcher.attempt(partial(asyncio.to_thread, flood))
        await watcher.reports.settle()
        return watcher

    begun = time.monotonic()
    written = asyncio.run(body()).written  # virtual time does not apply to threads
    assert 1 <= len(written) <= 1 + (time.monotonic() - begun)
    assert wakeups <= 3  # one by the reports, and those by the end of the thread
    # A report takes about as long as the encoding of it, in CPU time of the same thread.
    assert report_seconds < 10 * encoding_seconds


def test_a_report_after_the_loop_has_closed_is_dropped():
    async def body() -> tuple[ProgressRecorder, AttemptProgress]:
        watcher = ProgressRecorder()
        return watcher, watcher.node.begin_attempt()

    watcher, attempt = run(body())  # its thread still runs
    attempt.progress(5, "still here")
    attempt.delta("still here", None, 1)
    assert (watcher.written, watcher.published) == ([], [])


# Arguments


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 100.5, -1, 101])
def test_a_percentage_out_of_range_is_an_error_at_the_call(wrong: float):
    with pytest.raises(ValueError, match="from 0 to 100, not"):
        report_progress(wrong)


@pytest.mark.parametrize("wrong", ["50", True, Decimal(5), [1], 1j])
def test_an_invalid_percentage_error_names_its_type(wrong: Any):
    with pytest.raises(TypeError, match=type(wrong).__name__):
        report_progress(wrong)


def test_a_message_or_delta_that_is_not_a_string_is_an_error():
    with pytest.raises(TypeError, match="message should be a string, not of type int"):
        report_progress(message=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text should be a string, not of type NoneType"):
        send_delta(None)  # type: ignore[arg-type]


def test_a_report_is_sanitized_for_the_journal():
    async def handler() -> None:
        report_progress(99.99, "x" * 498 + "\0\ud800 and more")
        await asyncio.sleep(0.1)

    ((_, percentage, message),) = record_attempt(handler).written
    assert percentage == 99
    assert message == "x" * 498 + "\N{REPLACEMENT CHARACTER}" + "\\ud800"


def test_outside_of_an_execution_nothing_happens():
    assert report_progress(50, "fine") is None
    assert send_delta("fine") is None
