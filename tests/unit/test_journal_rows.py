"""Journal rows: the results of nodes and of an execution; those that hide data are encrypted."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from database.encryption import DataEncryption
from database.payloads import LargeValue
from engine.inputs import start_manually
from engine.json_encoding import TooLargeError
from engine.json_values import JsonValue
from engine.limits import RunLimits
from engine.node_run_key import NodeRunKey
from engine.outcome import SKIPPED, Outcome, Step
from engine.plan import Plan
from engine.status import ExecutionStatus, NodeStatus
from flows.execution.journal_rows import JournalRows
from flows.nodes.result import NodeResult, checked_result
from tests.support.plans import by_key, done, failed, graph

ENCRYPTION = DataEncryption("key", None)
HIDDEN = '{"hidden":true}'


def rows(
    outcomes: dict[str, Outcome] | None = None, maximum: int = 1_000_000, *, hides: bool = False
) -> JournalRows:
    drawn = graph("a:http b:http", "a>b", b={"hideData": hides})
    plan = Plan(drawn, start_manually(drawn, None))
    return JournalRows(plan, by_key(outcomes or {}), ENCRYPTION, RunLimits(execution_bytes=maximum))


B = NodeRunKey("b")


async def test_the_result_of_a_node_that_hides_its_data_is_encrypted() -> None:
    result = checked_result({"outputData": {"n": 1}, "message": "m"})
    assert await rows().stored(B, result) == ('{"n":1}', '{"message":"m"}')
    output, detail = await rows(hides=True).stored(B, result)
    assert output == HIDDEN
    assert detail
    assert '"m"' not in detail
    assert ENCRYPTION.decrypt(json.loads(detail)) == {"outputData": {"n": 1}, "message": "m"}
    assert await rows(hides=True).stored(NodeRunKey("a"), result) == (
        '{"n":1}',
        '{"message":"m"}',
    )


@pytest.mark.parametrize(("length", "inline"), [(32_768, True), (32_769, False)])
async def test_a_large_result_is_encrypted_outside_of_the_event_loop(
    length: int, inline: bool
) -> None:
    """Both parts count, up to 65 536 characters."""
    threads: list[threading.Thread] = []

    class Encryption(DataEncryption):
        def encrypt(self, result: Mapping[str, JsonValue]) -> str:
            threads.append(threading.current_thread())
            return "{}"

    found = replace(rows(hides=True), encryption=Encryption("key", None))
    await found.stored(B, NodeResult("x" * 32_768, "y" * length, {}))
    assert (threads == [threading.current_thread()]) is inline


async def test_a_resumed_node_is_stored_with_its_times_and_its_child() -> None:
    outcome = done({"n": 1}, message="m")
    row = await rows().resumed(B, outcome, 70, "x", 100)
    assert (row.node_id, row.status, row.duration, row.error) == ("b", "completed", None, None)
    assert row.output_data == '{"n":1}'
    assert json.loads(row.detail or "") == {"success": True, "message": "m"}
    assert (row.waited_ms, row.abandoned_child) == (70, "x")
    row = await rows().resumed(B, failed("late"), 70, "x", 0)
    assert (row.status, row.error, row.output_data, row.detail) == ("error", "late", None, None)
    assert (row.waited_ms, row.abandoned_child) == (70, "x")


@pytest.mark.parametrize("outcome", [done("x" * 98), done(1, message="x" * 71)])
async def test_both_parts_of_a_resumed_result_have_a_limit(outcome: Outcome) -> None:
    await rows().resumed(B, outcome, None, None, 100)
    with pytest.raises(TooLargeError):
        await rows().resumed(B, outcome, None, None, 99)


def test_decided_nodes_are_skipped_or_the_aggregates_of_loops() -> None:
    drawn = graph("each:forEach a:http b:http c:http", "each>item>a each>item>b")
    plan = Plan(drawn, start_manually(drawn, None))
    found = JournalRows(plan, {}, ENCRYPTION).decided(
        Step(
            skip=(NodeRunKey("c"),),
            decided=by_key({"each": done([1]), "a": done({"items": 1}), "b": failed("broke")}),
        )
    )
    assert [(row.node.id, row.status, row.output_data, row.error) for row in found] == [
        ("c", "skipped", None, None),
        ("a", "completed", '{"items":1}', None),
        ("b", "error", None, "broke"),
    ]


async def test_the_result_of_an_execution_contains_its_completed_nodes() -> None:
    outcomes = {"a": done({"n": 1}), "b": done(2)}
    result = await rows(outcomes, hides=True).result(
        ExecutionStatus.COMPLETED, None, stored_bytes=0
    )
    assert json.loads(_text(result.node_results)) == {
        "a": {"success": True, "outputData": {"n": 1}},
        "b": {"hidden": True},
    }
    assert result.final_output == '{"b":{"hidden":true}}'
    assert result.error is None
    assert result.progress
    assert (result.progress.total, result.progress.completed) == (2, 2)
    result = await rows({"a": done(1), "b": SKIPPED}).result(
        ExecutionStatus.FAILED, "broke", stored_bytes=0
    )
    assert _text(result.node_results) == '{"a":{"success":true,"outputData":1}}'
    assert (result.status, result.error, result.final_output) == ("failed", "broke", None)
    result = await rows().result(ExecutionStatus.CANCELLED, None, stored_bytes=0)
    assert (result.node_results, result.final_output) == ("{}", None)


@pytest.mark.parametrize("stored", [0, 40])
async def test_a_final_output_that_exceeds_the_size_of_the_execution_fails_it(stored: int) -> None:
    outcomes = {"a": done(1), "b": done("x" * 92)}  # The final output has 100 bytes.
    result = await rows(outcomes, 100 + stored).result(
        ExecutionStatus.COMPLETED, None, stored_bytes=stored
    )
    assert (result.status, len(result.final_output or "")) == ("completed", 100)
    result = await rows(outcomes, 99 + stored).result(
        ExecutionStatus.COMPLETED, None, stored_bytes=stored
    )
    assert result.status == ExecutionStatus.FAILED
    assert result.final_output is None
    assert result.error == (
        f"with its final output the execution would store more than {99 + stored} bytes "
        "(MAX_EXECUTION_BYTES)"
    )


@pytest.mark.parametrize(
    ("lengths", "is_text"),
    [
        ([0], True),
        ([262_144], True),
        ([262_145], False),
        ([200_000, 62_144], True),
        ([200_000, 62_145], False),
        ([300_000, 300_000, 5], False),
    ],
)
async def test_results_above_262144_characters_are_stored_as_a_payload(
    lengths: list[int], is_text: bool
) -> None:
    """The lengths are those of the whole text up to each result."""
    empty = len('{"a":{"outputData":""}}')
    values = [
        "x" * max(0, length - (empty if number == 0 else empty - 1))
        for number, length in enumerate(lengths)
    ]
    outcomes: dict[str, Outcome] = {
        "abc"[number]: Outcome(NodeStatus.COMPLETED, {"outputData": value})
        for number, value in enumerate(values)
    }
    drawn = graph("a:http b:http c:http")
    plan = Plan(drawn, start_manually(drawn, None))
    found = JournalRows(plan, by_key(outcomes), ENCRYPTION)
    result = await found.result(ExecutionStatus.CANCELLED, None, stored_bytes=0)
    assert isinstance(result.node_results, str) is is_text
    assert json.loads(_text(result.node_results)) == {
        "abc"[number]: {"outputData": value} for number, value in enumerate(values)
    }


def _text(value: Any) -> str:
    if isinstance(value, LargeValue):
        text = "".join(part for _, part in value.chunks)
        assert (value.characters, value.bytes) == (len(text), len(text))
        return text
    assert isinstance(value, str)
    return value
