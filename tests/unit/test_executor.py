"""Executor with a journal and nodes in memory: every transaction, its time, and nothing else."""

import asyncio
from typing import Any

import pytest

from database.executions.foreign_ends import EndedElsewhereError
from engine.errors import LeaseLostError, StorageUnavailableError
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from flows.execution.signals import StopReason
from tests.support.executor_runs import (
    ExecutorRun,
    raises,
    returns,
    sleeper,
)
from tests.support.plans import done, failed
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_each_step_is_one_transaction_with_the_node_that_started_last() -> None:
    execution = ExecutorRun("a:http b:http c:http d:http", "a>b a>c b>d c>d")
    execution.nodes.handlers = {"b": sleeper(1), "c": sleeper(2)}
    result = await execution.run()
    assert execution.lines == [
        "0: a starts",
        "0: a completed, b starts, c starts",
        "1: b completed",
        "2: c completed, d starts",
        "2: d completed | completed",
    ]
    assert execution.journal.current == ["a", "c", "c", "d"]
    assert [p and (p.total, p.completed) for p in execution.journal.progress] == [
        (4, 0),
        (4, 1),
        (4, 2),
        (4, 3),
    ]
    assert result is execution.journal.result
    assert execution.journal.result
    assert execution.journal.result.final_output == '{"d":"d"}'
    assert execution.journal.result.failed_node_id is None
    assert {key: row.duration for key, row in execution.journal.ended.items()} == {
        "a": 0,
        "b": 1000,
        "c": 2000,
        "d": 0,
    }
    assert execution.journal.reads == execution.children_changed == 0


@in_virtual_time
async def test_skipped_nodes_are_recorded_with_the_step_that_skips_them() -> None:
    execution = ExecutorRun(
        "a:condition b:http c:http d:http e:http", "a>true>b a>false>c c>d b>e d>e"
    )
    execution.nodes.handlers = {"a": returns(outputData=1, conditionResult=True)}
    await execution.run()
    assert execution.lines == [
        "0: a starts",
        "0: a completed, c skipped, d skipped, b starts",
        "0: b completed, e starts",
        "0: e completed | completed",
    ]
    progress = execution.journal.progress[-1]
    assert progress
    assert (progress.completed, progress.skipped, progress.failed) == (2, 2, 0)


@in_virtual_time
async def test_after_a_failure_running_nodes_end_and_no_node_starts() -> None:
    execution = ExecutorRun(
        "a:http b:http c:http d:http", "b>c", limits=RunLimits(concurrent_nodes=2)
    )
    execution.nodes.handlers = {"a": raises(ValueError("broke")), "b": sleeper(5)}
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a error",
        "5: b completed | failed",
    ]
    assert execution.nodes.calls == ["a", "b"]
    assert execution.journal.result
    assert execution.journal.result.error == "Node 'a' failed: ValueError: broke"
    assert execution.journal.result.failed_node_id == "a"
    assert execution.journal.result.final_output is None


@in_virtual_time
async def test_the_run_continues_after_a_failure_that_the_node_allows() -> None:
    execution = ExecutorRun("a:http b:http", "a>b", a={"onError": "continue"})
    execution.nodes.handlers = {"a": raises(ValueError("broke"))}
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a error, b starts", "0: b completed | completed"]


@in_virtual_time
async def test_an_execution_that_had_failed_before_a_crash_ends_without_a_start() -> None:
    outcomes = {NodeRunKey("a"): failed(), NodeRunKey("b"): done(1)}
    execution = ExecutorRun("a:http b:http c:http", "b>c", state={"outcomes": outcomes})
    await execution.run()
    assert execution.lines == ["0: failed"]
    assert execution.nodes.calls == []


@in_virtual_time
async def test_a_node_that_had_started_before_a_crash_starts_as_the_next_attempt() -> None:
    attempts = {NodeRunKey("a"): 2}
    execution = ExecutorRun(
        "a:http b:http", state={"attempts": attempts, "failed_attempts": {NodeRunKey("a"): 1}}
    )
    await execution.run()
    a, b = execution.journal.started["a"], execution.journal.started["b"]
    assert (a.attempt, a.resumed, a.was_parked, a.waited_ms) == (3, True, False, None)
    assert (b.attempt, b.resumed, b.was_parked, b.waited_ms) == (1, False, False, None)
    assert execution.nodes.failed == {"a": 1, "b": 0}


@in_virtual_time
async def test_a_retry_is_recorded_while_its_node_runs() -> None:
    execution = ExecutorRun(
        "a:http b:http",
        state={"attempts": {NodeRunKey("a"): 2}, "failed_attempts": {NodeRunKey("a"): 1}},
    )

    async def retried(_: Any) -> dict[str, Any]:
        for attempt in (1, 2):
            await asyncio.sleep(1)
            await execution.nodes.on_retry["a"](attempt, f"broke {attempt}")
        return {"outputData": None}

    execution.nodes.handlers = {"a": retried, "b": sleeper(9)}
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "1: a attempt 4: broke 1",
        "2: a attempt 5: broke 2",
        "2: a completed",
        "9: b completed | completed",
    ]
    assert [retry.failed_attempts for retry in execution.journal.retries] == [2, 3]


@in_virtual_time
async def test_a_stopping_service_starts_no_node_and_waits_for_the_running_ones() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c")
    execution.nodes.handlers = {"a": sleeper(2), "b": sleeper(3)}
    execution.at(1, execution.signals.drain)
    assert await execution.run() == StopReason.SHUTDOWN
    assert execution.lines == ["0: a starts, b starts", "2: a completed", "3: b completed"]
    assert execution.nodes.calls == ["a", "b"]


@in_virtual_time
async def test_a_stopping_service_ends_an_execution_without_further_nodes() -> None:
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": sleeper(2), "b": sleeper(3)}
    execution.at(1, execution.signals.drain)
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "2: a completed",
        "3: b completed | completed",
    ]


@in_virtual_time
async def test_a_stopping_service_does_not_start_an_execution() -> None:
    execution = ExecutorRun("a:http b:http")
    execution.signals.drain()
    assert await execution.run() == StopReason.SHUTDOWN
    assert execution.lines == []
    assert execution.nodes.calls == []


@in_virtual_time
async def test_a_stopping_service_records_the_steps_that_were_deferred() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>b b>c")
    execution.nodes.pure = {"a", "b", "c"}

    async def drain(_: Any) -> dict[str, Any]:
        execution.signals.drain()
        return {"outputData": 1}

    execution.nodes.handlers = {"b": drain}
    assert await execution.run() == StopReason.SHUTDOWN
    assert execution.lines == ["0: a starts / a completed, b starts / b completed"]


@pytest.mark.parametrize(
    ("reason", "line", "error"),
    [
        (StopReason.CANCEL, "a cancelled, b cancelled | cancelled", None),
        (
            StopReason.TIMEOUT,
            "a cancelled, b cancelled | failed",
            "The execution took longer than it may; nodes that ran: 'a', 'b'",
        ),
        (StopReason.SHUTDOWN, None, None),
        (StopReason.LEASE_LOST, None, None),
    ],
)
@in_virtual_time
async def test_a_stop_cancels_the_running_nodes(
    reason: StopReason, line: str | None, error: str | None
) -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c b>c")
    cancelled: list[str] = []
    execution.nodes.synchronous = {"b"}

    def watched(node_id: str) -> Any:
        async def handle(_: Any) -> dict[str, Any]:
            try:
                await asyncio.sleep(100)
            finally:
                cancelled.append(node_id)
            return {}

        return handle

    execution.nodes.handlers = {"a": watched("a"), "b": watched("b")}
    execution.at(3, execution.signals.stop, reason)
    returned = await execution.run()
    assert cancelled == ["a", "b"]
    assert execution.nodes.calls == ["a", "b"]
    assert asyncio.get_running_loop().time() == 3
    if line is None:
        assert returned == reason
        assert execution.lines == ["0: a starts, b starts"]
        return
    assert returned is execution.journal.result
    assert execution.lines == ["0: a starts, b starts", f"3: {line}"]
    assert execution.journal.result
    assert execution.journal.result.error == error
    a, b = execution.journal.ended["a"], execution.journal.ended["b"]
    assert (a.duration, a.error) == (3000, None)
    assert (b.duration, b.error) == (
        3000,
        "its handler is synchronous and cannot be interrupted; it may continue",
    )


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (StopReason.CANCEL, "a completed, b cancelled | cancelled"),
        (StopReason.SHUTDOWN, "a completed"),
        (StopReason.LEASE_LOST, None),
    ],
)
@in_virtual_time
async def test_a_node_that_has_ended_at_a_stop_is_recorded(
    reason: StopReason, line: str | None
) -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c")

    async def stop(_: Any) -> dict[str, Any]:
        await asyncio.sleep(3)
        execution.signals.stop(reason)
        return {"outputData": 1}

    execution.nodes.handlers = {"a": stop, "b": sleeper(100)}
    await execution.run()
    assert execution.lines == ["0: a starts, b starts", *([f"3: {line}"] if line else [])]


@in_virtual_time
async def test_a_timeout_between_two_nodes_names_none() -> None:
    execution = ExecutorRun("a:http")
    execution.signals.stop(StopReason.TIMEOUT)
    await execution.run()
    assert execution.journal.result
    assert execution.journal.result.error == (
        "The execution took longer than it may; nodes that ran: none"
    )


@in_virtual_time
async def test_a_handler_that_ignores_its_cancellation_delays_the_end_for_ten_seconds() -> None:
    execution = ExecutorRun("a:http")
    ended = asyncio.Event()

    async def stubborn(_: Any) -> dict[str, Any]:
        while True:
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue
            return {}

    execution.nodes.handlers = {"a": stubborn}
    execution.at(1, execution.signals.stop, StopReason.CANCEL)
    await execution.run()
    assert execution.lines == ["0: a starts", "11: a cancelled | cancelled"]
    assert asyncio.get_running_loop().time() == 11
    ended.set()


@in_virtual_time
async def test_a_handler_that_cancels_its_own_task_has_failed() -> None:
    execution = ExecutorRun("a:http")

    async def cancel(_: Any) -> dict[str, Any]:
        raise asyncio.CancelledError

    execution.nodes.handlers = {"a": cancel}
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a error | failed"]
    assert execution.journal.ended["a"].error == "the handler cancelled its own task"


@in_virtual_time
async def test_an_execution_that_another_program_ended_is_cancelled_with_its_last_step() -> None:
    execution = ExecutorRun("a:condition b:http c:http d:http", "a>true>b a>false>c")
    execution.nodes.handlers = {
        "a": returns(outputData=1, conditionResult=True),
        "d": sleeper(5),
    }
    execution.journal.errors = [None, EndedElsewhereError("e1")]
    await execution.run()
    assert execution.lines == [
        "0: a starts, d starts",
        "0: a completed, d cancelled, c skipped | cancelled",
    ]
    assert execution.nodes.calls == ["a", "d"]


@in_virtual_time
async def test_a_step_is_repeated_while_the_database_is_unavailable() -> None:
    execution = ExecutorRun("a:http")
    execution.journal.errors = [StorageUnavailableError("busy")] * 3
    await execution.run()
    assert execution.lines == ["0.7: a starts", "0.7: a completed | completed"]


@pytest.mark.parametrize("at", [0, 1])
@in_virtual_time
async def test_a_lost_lease_ends_the_run_without_a_task_or_a_transaction(at: int) -> None:
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": sleeper(1), "b": sleeper(100)}
    execution.journal.errors = [*[None] * at, LeaseLostError("e1")]
    with pytest.raises(LeaseLostError):
        await execution.run()
    assert execution.lines == ["0: a starts, b starts"][:at]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_progress_report_that_is_being_recorded_delays_the_end() -> None:
    execution = ExecutorRun("a:http")

    async def report(_: Any) -> dict[str, Any]:
        execution.journal.hold = asyncio.Event()
        execution.nodes.progress["a"].begin_attempt().progress(5, "m")
        await asyncio.sleep(100)
        return {}

    execution.nodes.handlers = {"a": report}
    execution.at(1, execution.signals.stop, StopReason.LEASE_LOST)
    execution.at(3, lambda: execution.journal.hold and execution.journal.hold.set())
    assert await execution.run() == StopReason.LEASE_LOST
    assert asyncio.get_running_loop().time() == 3
    assert execution.lines == ["0: a starts", "3: a 5 %: m"]


@in_virtual_time
async def test_deferred_steps_are_not_recorded_after_the_lease_was_lost() -> None:
    execution = ExecutorRun("a:http")
    execution.nodes.pure = {"a"}
    execution.nodes.handlers = {"a": sleeper(9)}
    execution.at(0.01, execution.signals.stop, StopReason.LEASE_LOST)
    assert await execution.run() == StopReason.LEASE_LOST
    await asyncio.sleep(1)
    assert execution.lines == []
    assert not execution.context.deferral_turn.locked()


@in_virtual_time
async def test_deferred_steps_are_recorded_when_the_service_stops() -> None:
    execution = ExecutorRun("a:http")
    execution.nodes.pure = {"a"}
    execution.nodes.handlers = {"a": sleeper(9)}
    execution.at(0.01, execution.signals.stop, StopReason.SHUTDOWN)
    assert await execution.run() == StopReason.SHUTDOWN
    assert execution.lines == ["0.01: a starts"]
