"""Executor with loops and with pure nodes, with a journal in memory."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from database.executions.inputs import Child, Submission
from engine.errors import NodeError
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from flows.execution.signals import StopReason
from flows.nodes.result import NodeResult, checked_result
from flows.nodes.retry_policy import RetryParkedError
from tests.support.executor_runs import (
    ExecutorRun,
    raises,
    returns,
    sleeper,
    waits,
)
from tests.support.virtual_time import in_virtual_time

# Loops

LOOP = "each:forEach a:http b:http", "each>item>a a>b"


def _starts_loop(items: int, concurrency: int = 1, **options: Any) -> Any:
    options = {"concurrency": concurrency, **options}
    return returns(outputData=list(range(items)), park={"until": None, "forEach": options})


@in_virtual_time
async def test_a_loop_ends_with_the_last_item_and_decides_the_nodes_of_its_body() -> None:
    execution = ExecutorRun(*LOOP)
    execution.nodes.handlers = {"each": _starts_loop(2), "a": sleeper(1)}
    await execution.run()
    assert execution.lines == [
        "0: each starts",
        "0: each waiting, a[0] starts",
        "1: a[0] completed, b[0] starts",
        "1: b[0] completed, a[1] starts",
        "1: each 50 %: 1 of 2 items are done",
        "2: a[1] completed, b[1] starts",
        "2: b[1] completed, each completed, a completed, b completed | completed",
    ]
    assert execution.journal.ended["each"].waited_ms == 2000
    assert execution.journal.reads == 0


@in_virtual_time
async def test_the_failure_of_an_item_cancels_the_nodes_that_wait_in_its_loop() -> None:
    execution = ExecutorRun(
        "each:forEach a:http b:http c:http",
        "each>item>a each>item>b",
        each={"onError": "continue"},
    )

    async def handle(item: Any) -> dict[str, Any]:
        if item == 0:
            return {"outputData": item, "park": {"until": None, "call": call}}
        await asyncio.sleep(2)
        raise NodeError("broke")

    call = {"workflowId": "w", "executionId": "x"}
    execution.nodes.handlers = {
        "each": _starts_loop(2, 2),
        "a": handle,
        "b": sleeper(1),
        "c": waits(9, 1),
    }
    assert await execution.run() == StopReason.PARKED
    assert execution.lines == [
        "0: each starts, c starts",
        "0: each waiting, c waiting, a[0] starts, b[0] starts, a[1] starts, b[1] starts",
        "0: a[0] waiting",
        "1: b[0] completed, b[1] completed",
        "2: a[1] error, each error, a[0] cancelled, a error, b completed",
        "2: park until 9 s",
    ]
    cancelled = execution.journal.ended["a[0]"]
    assert cancelled.error == "its loop, or the loop item that it belongs to, has failed"
    assert (cancelled.abandoned_child, cancelled.waited_ms) == ("x", 2000)
    assert execution.children_changed == 1


@pytest.mark.parametrize("ending", ["wait", "retry"])
@in_virtual_time
async def test_a_node_that_parks_after_its_loop_failed_is_cancelled(ending: str) -> None:
    execution = ExecutorRun("each:forEach a:http", "each>item>a", each={"onError": "continue"})

    async def handle(item: Any) -> dict[str, Any]:
        await asyncio.sleep(item)
        if item == 1:
            raise NodeError("broke")
        if item == 2 and ending == "retry":
            raise RetryParkedError(1, 60, "broke")
        return {"outputData": item, "park": {"until": None}}

    execution.nodes.handlers = {"each": _starts_loop(3, 3), "a": handle}
    await execution.run()
    assert execution.lines == [
        "0: each starts",
        "0: each waiting, a[0] starts, a[1] starts, a[2] starts",
        "0: a[0] waiting",
        "1: a[1] error, each error, a[0] cancelled, a error",
        "2: a[2] cancelled | completed",
    ]
    cancelled = execution.journal.ended["a[2]"]
    assert cancelled.error == "its loop, or the loop item that it belongs to, has failed"
    assert cancelled.duration == 2000


@in_virtual_time
async def test_the_failure_of_a_loop_stops_the_execution() -> None:
    execution = ExecutorRun("each:forEach a:http b:http c:http", "each>item>a each>b")
    execution.nodes.handlers = {
        "each": _starts_loop(1),
        "a": raises(NodeError("broke")),
        "c": sleeper(3),
    }
    await execution.run()
    assert execution.lines == [
        "0: each starts, c starts",
        "0: each waiting, a[0] starts",
        "0: a[0] error, each error, a error",
        "3: c completed | failed",
    ]
    assert "b" not in execution.nodes.calls


@in_virtual_time
async def test_the_result_of_a_loop_may_exceed_the_limits_of_a_result() -> None:
    """The plan limits it; above the size of the execution, the next node fails."""
    limits = RunLimits(node_result_bytes=100, execution_bytes=4500)
    execution = ExecutorRun("each:forEach a:http", "each>item>a", limits=limits)
    execution.nodes.handlers = {"each": _starts_loop(3, 3), "a": returns(outputData="x" * 90)}
    await execution.run()
    assert execution.journal.ended["each"].error is None
    assert len(execution.journal.ended["each"].output_data or "") > 100


@in_virtual_time
async def test_a_loop_reports_its_progress_at_most_once_per_second() -> None:
    execution = ExecutorRun("each:forEach a:http", "each>item>a")
    execution.nodes.handlers = {"each": _starts_loop(7), "a": sleeper(0.4)}
    await execution.run()
    reports = [line for line in execution.lines if "%" in line]
    assert reports == [
        "0.4: each 14 %: 1 of 7 items are done",
        "1.6: each 57 %: 4 of 7 items are done",
    ]


# Pure nodes


@in_virtual_time
async def test_the_steps_of_pure_nodes_are_recorded_together() -> None:
    execution = ExecutorRun("a:http b:http c:http d:http", "a>b b>c c>d")
    execution.nodes.pure = {"a", "b", "c"}
    await execution.run()
    assert execution.lines == [
        "0: a starts / a completed, b starts / b completed, c starts / c completed, d starts",
        "0: d completed | completed",
    ]


@in_virtual_time
async def test_a_deferred_step_is_recorded_after_20_ms_and_when_a_node_parks() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>b")
    execution.nodes.pure = {"a", "b", "c"}
    execution.nodes.handlers = {"a": sleeper(1), "b": waits(None), "c": sleeper(1.01)}
    await execution.run()
    assert execution.lines == [
        "0.02: a starts, c starts",
        "1: a completed, b starts",
        "1: b waiting",
        "1.01: c completed",
        "1.01: park forever",
    ]


@in_virtual_time
async def test_the_next_attempt_of_a_pure_node_is_recorded_at_once() -> None:
    execution = ExecutorRun("a:http", state={"attempts": {NodeRunKey("a"): 1}})
    execution.nodes.pure = {"a"}
    execution.nodes.handlers = {"a": sleeper(1)}
    await execution.run()
    assert execution.lines == ["0: a starts", "1: a completed | completed"]


@in_virtual_time
async def test_an_execution_waits_for_the_deferred_steps_of_another_one() -> None:
    turn = asyncio.Lock()
    first, second = ExecutorRun("a:http b:http", "a>b", turn=turn), ExecutorRun("c:http", turn=turn)
    first.nodes.pure, second.nodes.pure = {"a", "b"}, {"c"}
    first.nodes.handlers = {"a": sleeper(0.01), "b": sleeper(1)}
    await asyncio.gather(first.run(), second.run())
    assert first.lines == [
        "0.02: a starts / a completed, b starts",
        "1.01: b completed | completed",
    ]
    assert second.lines == ["0.02: c starts / c completed | completed"]


@in_virtual_time
async def test_an_execution_with_a_running_node_does_not_wait_for_another_one() -> None:
    turn = asyncio.Lock()
    first, second = (
        ExecutorRun("a:http b:http", "a>b", turn=turn),
        ExecutorRun("c:http d:http e:http", "d>e", turn=turn),
    )
    first.nodes.pure, second.nodes.pure = {"a", "b"}, {"d", "e"}
    first.nodes.handlers = {"a": sleeper(1), "b": sleeper(1)}
    second.nodes.handlers = {"c": sleeper(9), "d": sleeper(1.01), "e": sleeper(2)}
    await asyncio.gather(first.run(), second.run())
    assert second.lines == [
        "0: c starts, d starts",
        "1.01: d completed, e starts",
        "3.03: e completed",
        "9: c completed | completed",
    ]


@in_virtual_time
async def test_a_child_is_stored_with_the_step_that_parks_its_node() -> None:
    execution = ExecutorRun("a:http b:http")
    submission = Submission("x", "w", "W", None, "{}", None, 1)
    child = Child(submission, 1, "e1")
    call = {"workflowId": "w", "executionId": "x"}

    async def call_workflow(_: Any) -> NodeResult:
        result = checked_result({"outputData": 1, "park": {"until": None, "call": call}})
        return replace(result, child=child)

    execution.nodes.handlers = {"a": call_workflow, "b": sleeper(2)}
    await execution.run()
    assert execution.journal.ended["a"].child is child
    assert execution.children_changed == 1
