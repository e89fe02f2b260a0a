"""Executor with waiting nodes and parked retries, with a journal in memory."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal_records import TimeSpent
from engine.errors import NodeError
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from engine.parking import ParkedNode, ParkedRetry, Resumption
from flows.execution.signals import StopReason
from flows.nodes.retry_policy import RetryParkedError
from tests.support.executor_runs import (
    START,
    ExecutorRun,
    raises,
    returns,
    sleeper,
    waits,
)
from tests.support.virtual_time import in_virtual_time

# Waits


@in_virtual_time
async def test_an_execution_whose_nodes_all_wait_is_parked_until_the_first_is_due() -> None:
    execution = ExecutorRun("a:http b:http c:http")
    execution.nodes.handlers = {"a": waits(9), "b": waits(5, 1), "c": waits(None)}
    assert await execution.run() == StopReason.PARKED
    assert execution.lines == [
        "0: a starts, b starts, c starts",
        "0: a waiting, b waiting, c waiting",
        "0: park until 5 s",
    ]
    assert execution.journal.current == ["c", "c"]
    a, b, c = (execution.journal.ended[key] for key in "abc")
    assert [row.wait_until for row in (a, b, c)] == [
        "2026-01-01T00:00:09.000Z",
        "2026-01-01T00:00:05.000Z",
        None,
    ]
    assert {row.waiting_since for row in (a, b, c)} == {"2026-01-01T00:00:00.000Z"}
    assert b.output_data == "1"
    assert execution.children_changed == 0


@in_virtual_time
async def test_an_execution_without_a_due_time_is_parked_forever() -> None:
    execution = ExecutorRun("a:http")
    execution.nodes.handlers = {"a": waits(None)}
    assert await execution.run() == StopReason.PARKED
    assert execution.lines[-1] == "0: park forever"


@in_virtual_time
async def test_a_wait_that_expires_while_another_node_runs_ends_in_the_journal_first() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c")
    execution.nodes.handlers = {"a": waits(2, 1, fail="late"), "b": sleeper(5)}
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a waiting",
        "2: expire a",
        "2: a error",
        "5: b completed | failed",
    ]
    a = execution.journal.ended["a"]
    assert (a.error, a.duration, a.waited_ms) == ("late", None, 2000)
    assert execution.nodes.resumed == [("a", 2000, "late")]
    assert execution.nodes.calls == ["a", "b"]


@in_virtual_time
async def test_resumptions_are_read_when_a_node_parks_and_for_each_signal_only() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c")
    execution.nodes.handlers = {"a": waits(None, {"n": 1}), "b": sleeper(9)}
    execution.at(1, execution.signals.notify_resumed)
    answer = {"a": Resumption(data={"answer": 2})}
    execution.at(3, execution.journal.resumed.update, answer)
    execution.at(3, execution.signals.notify_resumed)
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a waiting",
        "3: a completed, c starts",
        "3: c completed",
        "9: b completed | completed",
    ]
    assert execution.journal.reads == 3
    assert execution.journal.started["c"].input_data == '{"n":1,"answer":2}'
    a = execution.journal.ended["a"]
    assert (a.output_data, a.duration, a.waited_ms) == ('{"n":1,"answer":2}', None, 3000)


@in_virtual_time
async def test_waits_of_an_earlier_owner_continue_with_their_times() -> None:
    a = NodeRunKey("a")
    waiting = ParkedNode({"outputData": 1, "park": {"until": None}})
    spent = TimeSpent(40, 500, START - timedelta(seconds=7))
    execution = ExecutorRun(
        "a:http b:http", "a>b", state={"parked": {a: waiting}, "times": {a: spent}}
    )
    execution.journal.resumed = {"a": Resumption()}
    await execution.run()
    assert execution.lines == ["0: a completed, b starts", "0: b completed | completed"]
    assert execution.journal.ended["a"].waited_ms == 7500
    assert execution.nodes.calls == ["b"]


@in_virtual_time
async def test_a_parked_execution_that_is_not_resumed_starts_nothing() -> None:
    parked = {NodeRunKey("a"): ParkedNode({"outputData": 1, "park": {"until": None}})}
    execution = ExecutorRun("a:http b:http", "a>b", state={"parked": parked})
    assert await execution.run() == StopReason.PARKED
    assert execution.lines == ["0: park forever"]
    assert execution.journal.reads == 1
    assert execution.nodes.calls == []


@in_virtual_time
async def test_a_failure_ends_the_execution_although_a_node_waits() -> None:
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": waits(None), "b": raises(NodeError("broke"))}
    await execution.run()
    assert execution.lines == ["0: a starts, b starts", "0: a waiting, b error | failed"]


@in_virtual_time
async def test_an_execution_that_another_program_ended_before_it_parks_is_cancelled() -> None:
    execution = ExecutorRun("a:http")
    execution.nodes.handlers = {"a": waits(None)}
    execution.journal.errors = [None, None, EndedElsewhereError("e1")]
    assert await execution.run() is execution.journal.result
    assert execution.lines == ["0: a starts", "0: a waiting", "0: cancelled"]
    assert execution.signals.reason == StopReason.CANCEL


@in_virtual_time
async def test_children_are_announced_when_their_node_parks_and_when_it_no_longer_waits() -> None:
    call = {"workflowId": "w", "executionId": "x"}
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": waits(4, call=call, fail="late"), "b": sleeper(9)}
    announced: list[int] = []
    for moment in (3, 5):
        execution.at(moment, lambda: announced.append(execution.children_changed))
    await execution.run()
    assert announced == [0, 1]
    assert execution.journal.ended["a"].abandoned_child == "x"


@in_virtual_time
async def test_a_result_that_grew_beyond_its_limit_in_a_wait_fails_its_node() -> None:
    execution = ExecutorRun("a:http b:http", "a>b", limits=RunLimits(node_result_bytes=200))
    execution.nodes.handlers = {"a": waits(None, {"n": 1})}
    execution.journal.resumed = {"a": Resumption(data={"long": "x" * 200})}
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a waiting, a error | failed"]
    a = execution.journal.ended["a"]
    assert a.error == (
        "the result of the node is larger than 200 bytes of JSON (MAX_NODE_RESULT_BYTES)"
    )
    assert a.output_data is None


@in_virtual_time
async def test_a_resumed_result_that_exceeds_the_size_of_the_execution_fails_its_node() -> None:
    execution = ExecutorRun("a:http", limits=RunLimits(execution_bytes=1000))
    execution.nodes.handlers = {"a": waits(None, {"n": 1})}
    execution.journal.resumed = {"a": Resumption(data={"long": "x" * 300})}
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a waiting, a error | failed"]
    assert "more than 1000 bytes (MAX_EXECUTION_BYTES)" in str(execution.journal.ended["a"].error)


@in_virtual_time
async def test_a_stopping_service_parks_an_execution_that_only_waits() -> None:
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": waits(50), "b": sleeper(2)}
    execution.at(1, execution.signals.drain)
    assert await execution.run() == StopReason.PARKED
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a waiting",
        "2: b completed",
        "2: park until 50 s",
    ]


@pytest.mark.parametrize(("hidden", "message"), [(False, "Please look"), (True, None)])
@in_virtual_time
async def test_the_task_of_a_node_that_hides_its_data_has_no_message(
    hidden: bool, message: str | None
) -> None:
    execution = ExecutorRun("a:http", a={"hideData": hidden})
    execution.nodes.handlers = {
        "a": returns(outputData=1, message="Please look", park={"until": None, "asks": True})
    }
    await execution.run()
    a = execution.journal.ended["a"]
    assert a.task
    assert a.task.message == message
    assert (a.output_data == '{"hidden":true}') is hidden


# Parked retries


def _parks_retry(failures: int, pause_seconds: float) -> Any:
    """Return a handler that fails three attempts in each of its first runs."""
    runs: list[int] = []

    async def handle(_: Any) -> dict[str, Any]:
        runs.append(1)
        if len(runs) <= failures:
            raise RetryParkedError(3, pause_seconds, "broke")
        return {"outputData": len(runs)}

    return handle


@in_virtual_time
async def test_a_parked_retry_starts_at_its_time_while_another_node_runs() -> None:
    execution = ExecutorRun("a:http b:http")
    execution.nodes.handlers = {"a": _parks_retry(2, 10), "b": sleeper(60)}
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a waiting",
        "10: a starts",
        "10: a waiting",
        "20: a starts",
        "20: a completed",
        "60: b completed | completed",
    ]
    starts = [start for changes in execution.journal.changes for start in changes.started]
    starts = [start for start in starts if start.node.id == "a"]
    assert [(s.attempt, s.resumed, s.was_parked, s.waited_ms) for s in starts] == [
        (1, False, False, None),
        (4, True, True, 10_000),
        (7, True, True, 20_000),
    ]
    waiting = [row for changes in execution.journal.changes for row in changes.ended]
    retries = [row.retry for row in waiting if row.retry]
    assert [(r.attempt, r.failed_attempts, r.error) for r in retries] == [
        (4, 3, "broke"),
        (7, 6, "broke"),
    ]
    assert waiting[0].wait_until == "2026-01-01T00:00:10.000Z"
    assert waiting[0].waiting_since == "2026-01-01T00:00:00.000Z"
    assert execution.nodes.failed["a"] == 6
    assert execution.nodes.calls == ["a", "b", "a", "a"]


@in_virtual_time
async def test_an_execution_with_a_parked_retry_is_parked_and_continued_by_the_next_owner() -> None:
    execution = ExecutorRun("a:http")
    execution.nodes.handlers = {"a": _parks_retry(1, 10)}
    assert await execution.run() == StopReason.PARKED
    assert execution.lines[-1] == "0: park until 10 s"
    a = NodeRunKey("a")
    record = {
        "parked": {a: ParkedRetry(START + timedelta(seconds=10))},
        "attempts": {a: 3},
        "failed_attempts": {a: 2},
    }
    next_owner = ExecutorRun("a:http", state=record)
    await asyncio.sleep(9)
    assert await next_owner.run() == StopReason.PARKED
    assert next_owner.lines == ["9: park until 10 s"]
    next_owner = ExecutorRun("a:http", state=record)
    await asyncio.sleep(1)
    await next_owner.run()
    assert next_owner.lines == ["10: a starts", "10: a completed | completed"]
    start = next_owner.journal.started["a"]
    assert (start.attempt, start.was_parked, start.waited_ms) == (4, True, None)
    assert next_owner.nodes.failed["a"] == 2


@in_virtual_time
async def test_a_stopping_service_and_a_failed_run_do_not_start_a_parked_retry() -> None:
    for stop in ("drain", "failure"):
        execution = ExecutorRun("a:http b:http c:http")
        began = asyncio.get_running_loop().time()
        execution.nodes.handlers = {"a": _parks_retry(1, 10), "b": sleeper(60)}
        if stop == "drain":
            execution.at(began + 1, execution.signals.drain)
        else:
            execution.nodes.handlers["c"] = raises(NodeError("broke"))
        await execution.run()
        assert execution.nodes.calls == ["a", "b", "c"]
        assert asyncio.get_running_loop().time() == began + 60
