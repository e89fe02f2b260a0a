"""Output limit: the size of the output of record nodes is limited while it is created."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, current_node_run, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tasks.records import records
from tasks.templating.filters import text_limit

LONG = "x" * 1_000
ALL_ALIKE = [{"k": 1}] * 30
GROWING: dict[str, tuple[dict[str, Any], Any]] = {
    "join": ({"joinStrategy": "mergeByKey", "joinKey": "k"}, {"A": ALL_ALIKE, "B": ALL_ALIKE * 3}),
    "splitText": (
        {"splitField": "k", "splitInto": [f"column {i}" for i in range(1_000)]},
        ALL_ALIKE,
    ),
    "addField": ({"addFieldName": "copy", "addFieldValue": "{{ input }}"}, [{"a": LONG}] * 12),
    "renameColumns": ({"renameMapping": {"k": LONG}}, ALL_ALIKE),
    "aggregate": (
        {
            "aggregateOperations": [
                {"operation": "list", "field": "a", "as": f"copy {i}"} for i in range(20)
            ]
        },
        [{"a": LONG}] * 5,
    ),
}


@pytest.fixture
def small_results() -> Iterator[Callable[[], None]]:
    """Return a function that sets a small MAX_NODE_RESULT_BYTES."""
    before = current_node_run()
    yield lambda: enter_node_run(NodeRun(HandlerSettings(max_node_result_bytes=20_000)))
    enter_node_run(before)


async def output_of(node_type: str) -> Any:
    config, data = GROWING[node_type]
    answer = NODE_HANDLERS[node_type].fn({"id": "n", "config": config}, data)
    return (await answer if inspect.isawaitable(answer) else answer)["outputData"]


@pytest.mark.parametrize("node_type", GROWING)
async def test_an_output_above_the_limit_is_an_error(
    node_type: str, small_results: Callable[[], None]
):
    assert await output_of(node_type)
    small_results()
    with pytest.raises(
        NodeError, match=r"more than 20000 characters.*MAX_NODE_RESULT_BYTES"
    ) as refused:
        await output_of(node_type)
    assert not refused.value.retryable


@pytest.mark.parametrize("groups", [["k"], ["k.a", "k.b"]])
async def test_the_fields_of_a_group_count_too(
    groups: list[str], small_results: Callable[[], None]
):
    small_results()
    data = [{"k": {"a": LONG, "b": i}} for i in range(20)]
    with pytest.raises(NodeError, match=r"more than 20000 characters.*MAX_NODE_RESULT_BYTES"):
        NODE_HANDLERS["aggregate"].fn({"id": "n", "config": {"groupBy": groups}}, data)


def test_a_million_small_records_are_accepted():
    size = records.OutputLimit()
    for _ in range(10_000):
        size.add({"a": 1})
    assert (text_limit() - size._left) * 100 <= text_limit()


def test_a_join_does_not_delay_other_executions():
    assert not NODE_HANDLERS["join"].isasync
