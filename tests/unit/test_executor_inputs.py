"""Executor: the inputs of nodes, the sizes of inputs and results, and reports of nodes."""

import asyncio
import json
from typing import Any

from engine.errors import NodeError
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.status import NodeStatus
from flows.execution.signals import StopReason
from tests.support.executor_runs import (
    ExecutorRun,
    raises,
    returns,
    sleeper,
)
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_the_input_of_a_node_is_stored_and_its_handler_gets_a_copy() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>b a>c")
    received: list[Any] = []

    async def change(value: Any) -> dict[str, Any]:
        received.append(list(value))
        value.clear()
        return {"outputData": value}

    execution.nodes.handlers = {"a": returns(outputData=[1, 2]), "b": change, "c": change}
    await execution.run()
    assert received == [[1, 2], [1, 2]]
    assert execution.journal.started["b"].input_data == "[1,2]"
    assert execution.journal.started["a"].input_data == "null"
    progress = execution.journal.progress[0]
    assert progress
    assert progress.stored_bytes == 512 + len("null")


@in_virtual_time
async def test_a_node_whose_input_exceeds_the_size_of_the_execution_fails() -> None:
    execution = ExecutorRun("a:http b:http c:http", "a>c", limits=RunLimits(execution_bytes=2800))
    execution.nodes.handlers = {"a": returns(outputData="x" * 600), "b": sleeper(1)}
    await execution.run()
    assert execution.lines == [
        "0: a starts, b starts",
        "0: a completed, c starts",
        "0: c error",
        "1: b completed | failed",
    ]
    assert execution.nodes.calls == ["a", "b"]
    assert execution.journal.started["c"].input_data == "null"
    message = (
        "with the input of the node the execution would store more than 2800 bytes "
        "(MAX_EXECUTION_BYTES)"
    )
    assert execution.journal.ended["c"].error == message


@in_virtual_time
async def test_a_result_that_exceeds_the_size_of_the_execution_fails_its_node() -> None:
    execution = ExecutorRun("a:http", limits=RunLimits(execution_bytes=1000))
    execution.nodes.handlers = {"a": returns(outputData="x" * 600)}
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a error | failed"]
    assert "the result of the node" in str(execution.journal.ended["a"].error)


@in_virtual_time
async def test_the_outcomes_of_nodes_are_the_inputs_of_the_next_ones() -> None:
    outcomes = {NodeRunKey("a"): Outcome(NodeStatus.COMPLETED, {"outputData": {"n": 1}})}
    execution = ExecutorRun("a:http b:http", "a>b", state={"outcomes": outcomes})
    await execution.run()
    assert execution.lines == ["0: b starts", "0: b completed | completed"]
    assert execution.journal.started["b"].input_data == '{"n":1}'


@in_virtual_time
async def test_the_first_retry_of_a_node_is_its_second_attempt() -> None:
    execution = ExecutorRun("a:http")

    async def retried(_: Any) -> dict[str, Any]:
        await execution.nodes.on_retry["a"](1, "broke")
        return {"outputData": None}

    execution.nodes.handlers = {"a": retried}
    await execution.run()
    assert execution.lines[1] == "0: a attempt 2: broke"
    assert execution.journal.retries[0].failed_attempts == 1


@in_virtual_time
async def test_a_node_that_is_cancelled_reports_no_more_progress() -> None:
    execution = ExecutorRun("a:http")

    async def report(_: Any) -> dict[str, Any]:
        attempt = execution.nodes.progress["a"].begin_attempt()
        attempt.progress(5, None)
        try:
            await asyncio.sleep(100)
        finally:
            attempt.progress(6, None)
            await asyncio.sleep(2)
        return {}

    execution.nodes.handlers = {"a": report}
    execution.at(4, execution.signals.stop, StopReason.CANCEL)
    await execution.run()
    assert execution.lines == ["0: a starts", "0: a 5 %: None", "6: a cancelled | cancelled"]


@in_virtual_time
async def test_the_status_code_of_a_failure_is_part_of_the_next_input() -> None:
    execution = ExecutorRun("a:http b:http", "a>b", a={"onError": "continue"})
    execution.nodes.handlers = {"a": raises(NodeError("gone", status_code=404))}
    await execution.run()
    error = {"nodeId": "a", "message": "gone", "statusCode": 404}
    assert json.loads(execution.journal.started["b"].input_data) == {"error": error}
    assert execution.journal.ended["a"].detail == '{"statusCode":404}'
