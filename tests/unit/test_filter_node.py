"""filter node: keeps or drops the records that pass comparisons."""

import inspect
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conditions import Operator
from engine.document import Node
from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS
from tasks.registry import DEFAULT

LARGE = {"conditionField": "n", "conditionOperator": "greaterThan", "conditionValue": "3"}


def run(data: Any, **config: Any) -> dict[str, Any]:
    return NODE_HANDLERS["filter"].fn({"config": config}, data)


def kept(data: Any, **config: Any) -> Any:
    return run(data, **config)["outputData"]


def test_the_records_that_pass_are_kept_and_counted():
    result = run([{"n": 5}, {"n": 1}, {"n": "4"}], **LARGE)
    assert result == {
        "success": True,
        "message": "Kept 2 of 3 records",
        "outputData": [{"n": 5}, {"n": "4"}],
        "keptCount": 2,
        "droppedCount": 1,
    }


@pytest.mark.parametrize(
    ("config", "data", "output"),
    [
        (LARGE, {"n": 5}, [{"n": 5}]),
        (LARGE, {"n": 1}, []),
        (LARGE, [], []),
        ({**LARGE, "filterMode": " drop "}, [{"n": 5}, {"n": 1}], [{"n": 1}]),
        ({**LARGE, "processingMode": "batch"}, [{"n": 1}, {"n": 5}], [{"n": 5}]),
        (
            {"conditionField": "a.0.b", "conditionValue": 1},
            [{"a": [{"b": 1}]}],
            [{"a": [{"b": 1}]}],
        ),
        (
            {"conditionField": "n", "conditionValue": "{{ m }}"},
            [{"n": 1, "m": 1}, {"n": 1, "m": 2}],
            [{"n": 1, "m": 1}],
        ),
        (
            {
                **LARGE,
                "logicalOperator": "or",
                "additionalConditions": [{"field": "n", "operator": "is_empty"}],
            },
            [{"n": 9}, {"n": 8}],
            [{"n": 9}, {"n": 8}],
        ),
        (
            {**LARGE, "additionalConditions": [{"field": "m", "value": "x"}]},
            [{"n": 9, "m": "x"}, {"n": 9, "m": "y"}, {"n": 1, "m": "x"}],
            [{"n": 9, "m": "x"}],
        ),
    ],
)
def test_the_mode_selects_the_kept_records(config: dict[str, Any], data: Any, output: Any):
    assert kept(data, **config) == output


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "the input is of type null"),
        ("x", "the input is of type string"),
        ([{"n": 1}, [2]], "record 1 is of type list, not an object"),
        ([{"n": 1}, {"n": "old"}], "record 1: greaterThan: field 'n' is 'old', which is not a num"),
        ([{"m": 1}], "record 0: greaterThan: the input has no field 'n'"),
    ],
)
def test_a_filter_error_names_record_and_field(data: Any, message: str):
    with pytest.raises(NodeError, match=message) as raised:
        run(data, **LARGE)
    assert not raised.value.retryable


def test_a_missing_template_field_is_named_with_its_record():
    with pytest.raises(NodeError, match=r"record 1: conditionValue: .*'m'"):
        run([{"n": 1, "m": 1}, {"n": 1}], conditionField="n", conditionValue="{{ m }}")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "'conditionField' is required"),
        ({**LARGE, "filterMode": "invert"}, "'filterMode' should be 'keep' or 'drop'"),
        ({**LARGE, "conditionOperator": "like"}, "unknown operator 'like'"),
        (
            {**LARGE, "additionalConditions": [{"value": 1}]},
            "'additionalConditions.0.field' is required",
        ),
    ],
)
def test_an_invalid_filter_config_is_rejected(config: dict[str, Any], reason: str):
    node = Node("n1", "filter", "N", config, "/nodes/0", "/nodes/0/config")
    (problem,) = DEFAULT.check(node)
    assert reason in problem.detail


values = st.none() | st.booleans() | st.integers(-2, 2) | st.text(alphabet="01a", max_size=2)
ORDERINGS = {"greaterThan", "lessThan", "greaterOrEqual", "lessOrEqual", "isBefore", "isAfter"}


@given(
    data=st.lists(st.fixed_dictionaries({"i": st.integers()}, optional={"n": values})),
    operator=st.sampled_from(sorted(set(Operator) - ORDERINGS)),
    value=values,
)
async def test_keep_and_drop_partition_the_list_like_a_condition(
    data: list[Any], operator: str, value: Any
):
    config = {"conditionField": "n", "conditionOperator": operator, "conditionValue": value}
    sorted_by_condition = await NODE_HANDLERS["condition"].fn(
        {"config": {**config, "processingMode": "perRow"}}, data
    )
    assert kept(data, **config) == sorted_by_condition["trueRecords"]
    assert kept(data, **config, filterMode="drop") == sorted_by_condition["falseRecords"]


def test_the_time_grows_with_the_number_of_records():
    few, many = 1_000, 40_000
    data = [{"n": i, "m": i - 1} for i in range(many)]

    def seconds(count: int) -> float:
        part = data[:count]
        started = time.process_time()
        assert len(kept(part, **LARGE)) == count - 4
        return time.process_time() - started

    # Of processor time. The expected ratio is 40; in quadratic time it is 1,600.
    assert seconds(many) < 160 * min(seconds(few) for _ in range(3))


@pytest.mark.parametrize("node_type", ["splitText", "renameColumns", "filter", "aggregate"])
def test_a_filter_runs_in_a_thread(node_type: str):
    # flows/nodes/prefect_task.py runs each handler that is not a coroutine function in a thread.
    handler = NODE_HANDLERS[node_type]
    assert not handler.isasync
    assert not inspect.iscoroutinefunction(handler.fn)
