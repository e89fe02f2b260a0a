"""addField and join nodes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS


async def add(config: dict[str, Any], data: Any) -> Any:
    result = await NODE_HANDLERS["addField"].fn({"id": "a", "config": config}, data)
    assert result["success"] is True
    return result["outputData"]


async def join(config: dict[str, Any], data: Any) -> Any:
    result = NODE_HANDLERS["join"].fn({"id": "j", "config": config}, data)
    assert result["success"] is True
    return result["outputData"]


def merging(join_type: str | None = None, key: str = "k") -> dict[str, Any]:
    return {"joinStrategy": "mergeByKey", "joinKey": key, "joinType": join_type}


@pytest.mark.parametrize(
    ("config", "data", "output"),
    [
        ({"addFieldName": "b", "addFieldValue": 2}, {"a": 1}, {"a": 1, "b": 2}),
        ({"fieldName": "b", "fieldValue": 2}, {"a": 1}, {"a": 1, "b": 2}),
        ({"addFieldName": "b", "fieldName": "c"}, {"a": 1}, {"a": 1, "b": None}),
        ({"addFieldValue": 1, "fieldValue": 2}, {}, {"newField": 1}),
        ({"addFieldValue": "", "fieldValue": 2}, {}, {"newField": ""}),
        ({}, {}, {"newField": None}),
        ({"addFieldName": "a", "addFieldValue": 2}, {"a": 1}, {"a": 2}),
        ({"addFieldName": "a.b", "addFieldValue": 2}, {"a": {}}, {"a": {}, "a.b": 2}),
        ({"addFieldName": "b", "addFieldValue": 2}, [{"a": 1}, {}], [{"a": 1, "b": 2}, {"b": 2}]),
        ({"addFieldName": "b", "addFieldValue": 2}, [], []),
        ({"addFieldName": "b", "addFieldValue": 2}, None, {"b": 2}),
        # a single placeholder keeps the type of the value; otherwise the value is part of a string
        ({"addFieldName": "b", "addFieldValue": "{{ a }}"}, {"a": 1}, {"a": 1, "b": 1}),
        ({"addFieldName": "b", "addFieldValue": "<{{ a }}>"}, {"a": 1}, {"a": 1, "b": "<1>"}),
        ({"addFieldName": "b", "addFieldValue": ["{{ a }}"]}, {"a": 1}, {"a": 1, "b": [1]}),
        ({"addFieldName": "b", "addFieldValue": "{{ input }}"}, {"a": 1}, {"a": 1, "b": {"a": 1}}),
        (
            {"addFieldName": "b", "addFieldValue": "{{ a }}!"},
            [{"a": 1}, {"a": "x"}],
            [{"a": 1, "b": "1!"}, {"a": "x", "b": "x!"}],
        ),
        # other strings are unchanged
        ({"addFieldName": "b", "addFieldValue": "25"}, {}, {"b": "25"}),
    ],
)
async def test_add_field(config: dict[str, Any], data: Any, output: Any):
    assert await add(config, data) == output


async def test_a_value_that_is_added_to_many_records_is_not_shared_by_them():
    first, second = await add({"addFieldValue": {"list": []}}, [{}, {}])
    first["newField"]["list"].append(1)
    assert second == {"newField": {"list": []}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "the input is of type number"),
        ("x", "the input is of type string"),
        (True, "the input is of type boolean"),
        ([{"a": 1}, 5], "record 1 is of type number, not an object"),
        ([{"a": 1}, None], "record 1 is of type null, not an object"),
    ],
)
async def test_add_field_rejects_records_that_are_not_objects(data: Any, message: str):
    with pytest.raises(NodeError, match=message) as raised:
        await add({"addFieldName": "b"}, data)
    assert not raised.value.retryable


async def test_add_field_names_the_field_and_the_record_that_a_template_misses():
    with pytest.raises(NodeError, match=r"record 1: addFieldValue: .* no field 'a'"):
        await add({"addFieldValue": "{{ a }}"}, [{"a": 1}, {"b": 1}])


@pytest.mark.parametrize(
    ("data", "output"),
    [
        ({"A": [1, 2], "B": [3]}, [1, 2, 3]),
        ({"B": [3], "A": [1, 2]}, [1, 2, 3]),
        ({"A": {"a": 1}, "B": [{"b": 1}]}, [{"a": 1}, {"b": 1}]),
        ({"A": {"a": 1}}, [{"a": 1}]),
        ({"B": {"a": 1}}, [{"a": 1}]),
        ({"A": None, "B": [1]}, [1]),
        ({"A": [], "B": []}, []),
        ({"A": "x", "B": 5}, ["x", 5]),
        ({}, []),
        (None, []),
    ],
)
async def test_concat_puts_a_before_b_and_counts_an_object_as_a_list_of_one(data: Any, output: Any):
    assert await join({}, data) == output


@pytest.mark.parametrize("data", [[1], "x", {"x": 1}])
async def test_a_join_rejects_an_input_without_ports(data: Any):
    with pytest.raises(NodeError, match="a join needs"):
        await join({}, data)


LEFT = [{"k": 1, "n": "a1"}, {"k": 2, "n": "a2"}, {"n": "a-none"}]
RIGHT = [{"k": 3, "m": "b3"}, {"k": 2, "m": "b2"}, {"k": None, "m": "b-null"}]


@pytest.mark.parametrize(
    ("join_type", "output"),
    [
        ("inner", [{"k": 2, "n": "a2", "m": "b2"}]),
        (None, [{"k": 2, "n": "a2", "m": "b2"}]),
        ("left", [LEFT[0], {"k": 2, "n": "a2", "m": "b2"}, LEFT[2]]),
        ("outer", [LEFT[0], {"k": 2, "n": "a2", "m": "b2"}, LEFT[2], RIGHT[0], RIGHT[2]]),
    ],
)
async def test_merge_by_key_keeps_the_order_of_a_then_the_rest_of_b(
    join_type: str | None, output: Any
):
    assert await join(merging(join_type), {"A": LEFT, "B": RIGHT}) == output


async def test_merge_by_key_makes_every_pair_of_many_to_many():
    data = {
        "A": [{"k": 1, "a": 1}, {"k": 1, "a": 2}],
        "B": [{"k": 1, "b": 1}, {"k": 1, "b": 2}],
    }
    pairs = [(row["a"], row["b"]) for row in await join(merging(), data)]
    assert pairs == [(1, 1), (1, 2), (2, 1), (2, 2)]


async def test_b_takes_precedence_for_equal_field_names():
    data = {"A": {"k": 1, "v": "a"}, "B": {"k": 1, "v": "b"}}
    assert await join(merging(), data) == [{"k": 1, "v": "b"}]


@pytest.mark.parametrize(
    ("left", "right", "match"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        ("x", "x", True),
        ("x", "X", False),
        ({"a": 1, "b": [1]}, {"b": [1.0], "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ([1, 2], [2, 1], False),
        ([], {}, False),
        (2**60, float(2**60), True),
        (2**60 + 1, float(2**60), False),
        (None, None, False),
    ],
)
async def test_keys_match_when_they_are_equal_as_json(left: Any, right: Any, match: bool):
    joined = await join(merging(), {"A": {"k": left}, "B": {"k": right}})
    assert bool(joined) is match


async def test_the_key_may_be_a_nested_field():
    data = {"A": {"user": {"id": 1}, "a": 1}, "B": {"user": {"id": 1}, "b": 1}}
    assert await join(merging(key="user.id"), data) == [{"user": {"id": 1}, "a": 1, "b": 1}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"A": [{"k": 1}, 5], "B": []}, "record 1 of input A is of type number"),
        ({"A": [], "B": "x"}, "record 0 of input B is of type string"),
    ],
)
async def test_a_merge_error_names_port_and_index(data: Any, message: str):
    with pytest.raises(NodeError, match=message):
        await join(merging(), data)


async def test_a_join_does_not_compare_every_pair():
    size = 50_000  # all pairs would be 2.5 billion
    data = {"A": [{"k": i, "a": i} for i in range(size)], "B": [{"k": i} for i in range(size)]}
    assert len(await join(merging("outer"), data)) == size


records = st.lists(st.fixed_dictionaries({}, optional={"k": st.none() | st.integers(0, 3)}))


@given(left=records, right=records)
async def test_merge_by_key_is_the_relational_join(left: list[Any], right: list[Any]):
    left = [{**record, "a": i} for i, record in enumerate(left)]
    right = [{**record, "b": i} for i, record in enumerate(right)]
    pairs = [
        (a["a"], b["b"])
        for a in left
        for b in right
        if a.get("k") is not None and a.get("k") == b.get("k")
    ]
    joined = await join(merging("outer"), {"A": left, "B": right})
    assert [(row["a"], row["b"]) for row in joined if "a" in row and "b" in row] == pairs
    alone_left = [row["a"] for row in joined if "b" not in row]
    alone_right = [row["b"] for row in joined if "a" not in row]
    assert alone_left == [i for i in range(len(left)) if i not in {a for a, _ in pairs}]
    assert alone_right == [i for i in range(len(right)) if i not in {b for _, b in pairs}]
