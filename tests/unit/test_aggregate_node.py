"""aggregate node: makes one record for each group of records."""

import json
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.document import Node
from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS
from tasks.records.aggregate import Operation
from tasks.registry import DEFAULT


def aggregate(data: Any, **config: Any) -> Any:
    return NODE_HANDLERS["aggregate"].fn({"config": config}, data)["outputData"]


def one(operation: str, *values: Any) -> Any:
    """Return the result of an operation on a record for each value, and a record without one."""
    data = [*({"v": value} for value in values), {"other": 1}]
    (record,) = aggregate(
        data,
        aggregateOperations=[{"operation": operation, "field": "v", "as": "r"}],
        aggregateMissing="ignore",
    )
    return record["r"]


ORDERS = [
    {"city": "Rome", "total": 10, "who": "Ada"},
    {"city": "Oslo", "total": "2.5", "who": "Bob"},
    {"city": "Rome", "total": None, "who": "Ada"},
    {"city": "Rome", "total": 5, "who": "Cy"},
]


def test_groups_have_the_order_of_their_first_record():
    output = aggregate(
        ORDERS,
        aggregateGroupBy=["city"],
        aggregateOperations=[
            {"operation": "count"},
            {"operation": "sum", "field": "total"},
            {"operation": "count_distinct", "field": "who", "as": "people"},
        ],
    )
    assert output == [
        {"city": "Rome", "count": 3, "sum_total": 15, "people": 2},
        {"city": "Oslo", "count": 1, "sum_total": 2.5, "people": 1},
    ]
    assert list(output[0]) == ["city", "count", "sum_total", "people"]


@pytest.mark.parametrize(
    ("operation", "values", "expected"),
    [
        ("count", [1, None, "", "x"], 3),
        ("countDistinct", [1, 1.0, "1", True, None, [1], [1.0], {"a": 1}, {"a": 1}], 5),
        ("sum", [1, 2], 3),
        ("sum", ["25", 5], 30),
        ("sum", [1, 2.0], 3.0),
        ("sum", [0.1, 0.2], 0.3),
        ("sum", ["0.10", "0.20", 1], 1.3),
        ("sum", [0.1] * 10, 1.0),
        ("sum", [1e16, 1, -1e16], 1.0),
        ("sum", [1e308, 1e308, -1e308], 1e308),
        ("sum", [2**70, 1], 2**70 + 1),
        ("sum", [None, "", " "], 0),
        ("sum", [5e-324, 1e308], 1e308),
        ("avg", [1, 2], 1.5),
        ("avg", [1, 3, None], 2.0),
        ("avg", [0.1, 0.2], 0.15),
        ("avg", [None], None),
        ("min", [3, "2", 2.5], 2),
        ("max", [3, "10", 2.5], 10),
        ("min", [2**60 + 1, float(2**60)], float(2**60)),
        ("max", ["2026-11-23", "2026-02-01", ""], "2026-11-23"),
        ("min", ["b", "a", "c 10"], "a"),
        ("max", ["b", "a", "B"], "b"),
        ("min", [None, ""], None),
        ("first", [None, "a", "b"], "a"),
        ("first", [""], ""),
        ("last", ["a", {"x": 1}, None], {"x": 1}),
        ("last", [None], None),
        ("list", [1, None, "a", [2], False], [1, "a", [2], False]),
        ("list", [None], []),
    ],
)
def test_an_operation(operation: str, values: list[Any], expected: Any):
    result = one(operation, *values)
    assert result == expected
    assert type(result) is type(expected)


def test_every_operation_is_tested_and_may_be_spelled_with_an_underscore():
    assert {str(operation) for operation in get_args(Operation)} == {
        *("count", "countDistinct", "sum", "avg", "min", "max", "first", "last", "list")
    }
    assert one("count_distinct", 1, 1) == one(" countDistinct ", 1, 1) == 1


@pytest.mark.parametrize(
    ("operation", "values", "message"),
    [
        ("sum", [1, "x"], "record 1: sum: field 'v' is 'x', which is not a number"),
        ("sum", [True], "record 0: sum: field 'v' is true, which is not a number"),
        ("avg", [1, None, [2]], r"record 2: avg: field 'v' is \[2\], which is not a number"),
        ("sum", ["007"], "field 'v' is '007', which is not a number"),
        ("min", [1, "x"], "record 1: min: field 'v' is 'x', which is not a number, unlike others"),
        ("max", ["x", 1], "record 0: max: field 'v' is 'x', which is not a number, unlike others"),
        ("max", ["x", False], "record 1: max: field 'v' is false, which is neither a number nor"),
        ("min", [{}], "record 0: min: field 'v' is {}, which is neither a number nor a string"),
        ("sum", [1e308, 1e308], "the sum of field 'v' is too large"),
        ("avg", [10**400], "the avg of field 'v' is too large"),
    ],
)
def test_an_invalid_value_is_named_with_its_record(operation: str, values: list[Any], message: str):
    with pytest.raises(NodeError, match=message) as raised:
        one(operation, *values)
    assert not raised.value.retryable


def test_an_error_names_the_index_in_the_input_not_in_the_group():
    data = [{"g": "a", "v": 1}, {"g": "b", "v": 1}, {"g": "a", "v": "x"}]
    with pytest.raises(NodeError, match="record 2: sum"):
        aggregate(data, groupBy="g", aggregations=[{"operation": "sum", "field": "v"}])


@pytest.mark.parametrize(
    ("data", "config", "output"),
    [
        ([], {}, [{"count": 0}]),
        ([], {"groupBy": "g"}, []),
        ([], {"aggregations": [{"operation": "sum", "field": "v"}]}, [{"sum_v": 0}]),
        ([], {"aggregations": [{"operation": "max", "field": "v"}]}, [{"max_v": None}]),
        ({"g": 1}, {"groupBy": "g"}, [{"g": 1, "count": 1}]),
        (
            [{"g": 1}, {}],
            {"groupBy": " g ", "aggregations": []},
            [{"g": 1, "count": 1}, {"g": None, "count": 1}],
        ),
        # a missing field is null, and null is a group
        ([{"g": None, "h": 1}, {"h": 1}], {"groupBy": "g"}, [{"g": None, "count": 2}]),
        # groups are compared like the keys of a join
        (
            [{"g": 1}, {"g": "1"}, {"g": 1.0}, {"g": True}],
            {"groupBy": "g"},
            [{"g": 1, "count": 2}, {"g": "1", "count": 1}, {"g": True, "count": 1}],
        ),
        ([{"g": [1]}, {"g": [1]}], {"groupBy": "g"}, [{"g": [1], "count": 2}]),
        (
            [{"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "c": 3}],
            {"groupBy": "a.b\nc"},
            [{"a.b": 1, "c": 2, "count": 1}, {"a.b": 1, "c": 3, "count": 1}],
        ),
        (
            [{"a": [{"b": 4}]}],
            {"aggregations": [{"operation": "sum", "field": "a.0.b"}]},
            [{"sum_a.0.b": 4}],
        ),
    ],
)
def test_groups(data: Any, config: dict[str, Any], output: Any):
    assert json.dumps(aggregate(data, **config)) == json.dumps(output)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "the input is of type null"),
        (5, "the input is of type number"),
        ([{"v": 1}, "x"], "record 1 is of type string, not an object"),
        ([{"a": 1, "b": 2}], r"no record has a field 'g' \(record 0: it has: a, b\)"),
        ([{"g": 1}], "no record has a field 'v'"),
    ],
)
def test_invalid_input_of_an_aggregate_is_rejected(data: Any, message: str):
    with pytest.raises(NodeError, match=message) as raised:
        aggregate(data, groupBy="g", aggregations=[{"operation": "sum", "field": "v"}])
    assert not raised.value.retryable


def test_missing_fields_can_be_ignored_by_an_aggregate():
    output = aggregate(
        [{}],
        groupBy="g",
        aggregations=[{"operation": "sum", "field": "v"}, {"operation": "avg", "field": "v"}],
        aggregateMissing="ignore",
    )
    assert output == [{"g": None, "sum_v": 0, "avg_v": None}]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"groupBy": "a,a"}, "'groupBy' names 'a' twice"),
        ({"aggregateGroupBy": "{{ a }}"}, "without {{ }}"),
        ({"groupBy": [f"f{i}" for i in range(21)]}, "'groupBy' should have at most 20 items"),
        ({"groupBy": 5}, "'groupBy' should be a list, or a string with commas"),
        ({"groupBy": "count"}, "creates two fields 'count'"),
        (
            {"aggregations": [{"operation": "count"}] * 2},
            "'aggregations' creates two fields 'count'",
        ),
        (
            {"aggregations": [{"operation": "count"}] * 101},
            "'aggregations' should have at most 100 items",
        ),
        ({"groupBy": "a", "aggregations": [{"as": "a"}]}, "creates two fields 'a'"),
        ({"aggregations": {}}, "'aggregations' should be a list"),
        ({"aggregations": ["sum"]}, "'aggregations.0' should be an object"),
        ({"aggregations": [{"operation": "sum"}]}, "'aggregations.0.field' is required for sum"),
        (
            {"aggregateOperations": [{"operation": "median", "field": "a"}]},
            "'aggregateOperations.0.operation' is 'median'; accepted: count, countDistinct, sum",
        ),
        ({"aggregateMissing": "x"}, "'aggregateMissing' should be 'error' or 'ignore'"),
    ],
)
def test_an_invalid_aggregate_config_is_rejected(config: dict[str, Any], reason: str):
    node = Node("n1", "aggregate", "N", config, "/nodes/0", "/nodes/0/config")
    (problem,) = DEFAULT.check(node)
    assert reason in problem.detail


numbers = st.integers(-(10**20), 10**20) | st.floats(
    allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300
)
records = st.lists(
    st.fixed_dictionaries(
        {"v": st.none() | numbers | st.integers(-9, 9).map(str)}, optional={"g": st.integers(0, 2)}
    ),
    min_size=1,
)
RESULTS = [{"operation": str(name), "field": "v", "as": str(name)} for name in get_args(Operation)]


@given(data=records, seed=st.randoms(use_true_random=False))
def test_the_results_of_groups_match_a_simple_calculation(data: list[Any], seed: Any):
    output = aggregate(data, groupBy="g", aggregations=RESULTS, aggregateMissing="ignore")
    assert [record["g"] for record in output] == list(dict.fromkeys(row.get("g") for row in data))
    for record in output:
        found = [row["v"] for row in data if row.get("g") == record["g"] and row["v"] is not None]
        exact = [Fraction(str(value)) for value in found]
        assert record["count"] == len(found)
        assert record["list"] == found
        assert record["sum"] == pytest.approx(float(sum(exact)), rel=1e-15, abs=0)
        if found:
            assert record["avg"] == float(sum(exact) / len(exact))
            assert Fraction(str(record["min"])) == min(exact)
            assert Fraction(str(record["max"])) == max(exact)
            assert (record["first"], record["last"]) == (found[0], found[-1])
    assert sum(record["count"] for record in output) == sum(row["v"] is not None for row in data)
    shuffled = list(data)
    seed.shuffle(shuffled)
    again = aggregate(shuffled, groupBy="g", aggregations=RESULTS[2:4], aggregateMissing="ignore")
    assert {r["g"]: (r["sum"], r["avg"]) for r in again} == {
        r["g"]: (r["sum"], r["avg"]) for r in output
    }


def test_twenty_thousand_records_are_aggregated_in_a_thousand_groups():
    data = [{"g": i % 1000, "v": i * 0.1} for i in range(20_000)]
    output = aggregate(data, groupBy="g", aggregations=RESULTS)
    assert len(output) == 1000
    assert sum(record["count"] for record in output) == 20_000
