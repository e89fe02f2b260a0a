"""Values in configs and records: numbers, timestamps, names with spaces, Unicode, blank rows."""

from typing import Any

import pytest

from engine.document import Node
from engine.errors import NodeError
from tasks.context import NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tasks.registry import DEFAULT
from tasks.templating.render import render

COMPOSED, DECOMPOSED = "Zo\u00eb", "Zoe\u0308"


def run(node_type: str, config: dict[str, Any], data: Any) -> Any:
    return NODE_HANDLERS[node_type].fn({"id": "n", "config": config}, data)


async def passes(data: Any, **config: Any) -> bool:
    return (await run("condition", config, data))["conditionResult"]


async def compared(found: Any, operator: str, value: Any) -> bool:
    config = {"conditionField": "f", "conditionOperator": operator, "conditionValue": value}
    return await passes({"f": found}, **config)


def extreme(operation: str, *values: Any) -> Any:
    aggregations = [{"operation": operation, "field": "v", "as": "it"}]
    (record,) = run("aggregate", {"aggregations": aggregations}, [{"v": v} for v in values])[
        "outputData"
    ]
    return record["it"]


# Comparisons


@pytest.mark.parametrize(
    ("operation", "values", "expected"),
    [
        ("max", ["2026-03-01T00:30:00Z", "2026-03-01T00:30:00.500Z"], "2026-03-01T00:30:00.500Z"),
        ("min", ["2026-03-01T00:30:00Z", "2026-03-01T00:30:00.500Z"], "2026-03-01T00:30:00Z"),
        ("max", ["2026-03-01T23:00:00-05:00", "2026-03-02T01:00:00Z"], "2026-03-01T23:00:00-05:00"),
        ("min", ["2026-03-02", "2026-03-01T23:30:00Z", "", None], "2026-03-01T23:30:00Z"),
        ("max", ["b", "a"], "b"),
    ],
)
def test_timestamps_compare_as_points_in_time(operation: str, values: list[Any], expected: str):
    assert extreme(operation, *values) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["9", "10", "n/a"],
            "record 2: max: field 'v' is 'n/a', which is not a number, unlike others",
        ),
        ([9, "n/a"], "record 1: max: field 'v' is 'n/a', which is not a number, unlike others"),
        (["2026-03-01", "soon"], "record 1: max: field 'v' is 'soon', which is not a timestamp"),
        (["2026-03-01", 5], "record 0: max: field 'v' is '2026-03-01', which is not a number"),
    ],
)
def test_values_of_two_kinds_have_no_extreme(values: list[Any], message: str):
    with pytest.raises(NodeError, match=message):
        extreme("max", *values)


@pytest.mark.parametrize(
    ("found", "operator", "value", "expected"),
    [
        ([10.0, 20.0], "contains", 10, True),
        ([10.0, 20.0], "contains", "10", True),
        ([10, 20], "contains", 10.0, True),
        ([10, 20], "contains", "1", False),
        (["10.0"], "contains", 10, True),
        (["Red"], "contains", "red", True),
        ([[1.0]], "contains", [1], True),
        ([True], "contains", 1, False),
        ([10.0], "notContains", 10, False),
        ([10.0, {"a": 1.0}], "equals", [10, {"a": 1}], True),
        ({"a": 1, "b": 2.0}, "equals", {"b": 2, "a": 1.0}, True),
        ([1.0, 2.0], "equals", "[1, 2]", True),
        ([1], "equals", [True], False),
        ([1], "notEquals", "[2]", True),
        (10.0, "startsWith", "10", True),
        (10.0, "endsWith", "0", True),
        ("item 10", "endsWith", 10.0, True),
        (COMPOSED, "equals", DECOMPOSED, True),
        (f"dear {DECOMPOSED}", "contains", COMPOSED.upper(), True),
        ([DECOMPOSED], "contains", COMPOSED, True),
        (COMPOSED, "startsWith", DECOMPOSED, True),
        ("2026-03-01T01:00:00+02:00", "isBefore", "2026-02-28T23:30:00Z", True),
        ("2026-03-01T01:00:00+02:00", "is_after", "2026-02-28T22:59:59.999Z", True),
        ("2026-03-01", "isAfter", "2026-03-01T00:00Z", False),
    ],
)
async def test_a_comparison_compares_values_not_strings(
    found: Any, operator: str, value: Any, expected: bool
):
    assert await compared(found, operator, value) is expected


@pytest.mark.parametrize(
    ("found", "value", "message"),
    [
        ("soon", "2026-03-01", "isBefore: field 'f' is 'soon', which is not a date or timestamp"),
        (None, "2026-03-01", "isBefore: field 'f' is null, which is not a date or timestamp"),
        ("2026-03-01", "soon", "isBefore: field 'f' is compared with 'soon', which is not a date"),
        (1772323200, "2026-03-01", "isBefore: field 'f' is 1772323200, which is not a date"),
    ],
)
async def test_only_timestamps_are_before_or_after(found: Any, value: Any, message: str):
    with pytest.raises(NodeError, match=message):
        await compared(found, "isBefore", value)


async def test_ordering_timestamps_as_numbers_names_the_operators_for_them():
    with pytest.raises(NodeError, match="is not a number; isBefore and isAfter compare timestamps"):
        await compared("2026-03-01", "greaterThan", "2026-02-01")


# Names of fields


SPACED = [{"Price ": "5", " Kind": "a"}]


@pytest.mark.parametrize(
    ("node_type", "config", "output"),
    [
        ("renameColumns", {"renameMapping": {"Price ": "price"}}, [{"price": "5", " Kind": "a"}]),
        (
            "renameColumns",
            {"renameMapping": [{"from": " Kind", "to": "Kind "}]},
            [{"Price ": "5", "Kind ": "a"}],
        ),
        ("splitText", {"splitField": "Price ", "splitInto": [" p"]}, [
            {"Price ": "5", " p": "5", " Kind": "a"}
        ]),
        ("splitColumns", {"columnsOutputA": ["Price "]}, {"A": [{"Price ": "5"}]}),
        ("filter", {"conditionField": "Price ", "conditionValue": 5}, SPACED),
        (
            "aggregate",
            {"groupBy": [" Kind"], "aggregations": [{"operation": "sum", "field": "Price "}]},
            [{" Kind": "a", "sum_Price ": 5}],
        ),
    ],
)  # fmt: skip
def test_a_name_keeps_the_spaces_at_its_ends(node_type: str, config: Any, output: Any):
    assert run(node_type, config, SPACED)["outputData"] == output


async def test_a_name_keeps_its_spaces_in_every_other_node():
    added = await run("addField", {"addFieldName": " a "}, {})
    assert added["outputData"] == {" a ": None}
    typed = await run("manualInput", {"inputVarName": "a ", "inputVarValue": 1}, None)
    assert typed["outputData"] == {"a ": 1}
    config = {"joinStrategy": "mergeByKey", "joinKey": "Price "}
    joined = run("join", config, {"A": SPACED, "B": [{"Price ": "5", "b": 1}]})
    assert joined["outputData"] == [{**SPACED[0], "b": 1}]
    config = {"webhookResponseMode": "selected", "webhookResponseFields": ["Price "]}
    answered = await run("webhookResponse", config, SPACED[0])
    assert answered["webhookReply"]["body"] == {"Price ": "5"}
    test = {"field": "Price ", "value": "5"}
    assert await passes(SPACED[0], conditionField="Price ", additionalConditions=[test],
                        conditionValue="5")  # fmt: skip
    assert render("{{ input['Price '] }}", SPACED[0]) == "5"


def test_names_in_a_string_with_commas_are_stripped():
    config = {"columnsOutputA": " a , b\nc"}
    assert run("splitColumns", config, {"a": 1, "b": 2, "c": 3})["outputData"] == {
        "A": {"a": 1, "b": 2, "c": 3}
    }


@pytest.mark.parametrize(
    ("node_type", "config", "data"),
    [
        ("addField", {"addFieldName": "  "}, {}),
        ("join", {"joinKey": " "}, {"A": [1]}),
        ("aggregate", {"aggregations": [{"operation": "count", "field": " ", "as": " "}]}, [{}]),
    ],
)
async def test_a_blank_name_is_not_set(node_type: str, config: dict[str, Any], data: Any):
    result = run(node_type, config, data)
    output = (await result if node_type == "addField" else result)["outputData"]
    assert output in ({"newField": None}, [1], [{"count": 1}])


# Unicode


def test_a_join_finds_keys_and_names_in_either_form():
    config = {"joinStrategy": "mergeByKey", "joinKey": COMPOSED}
    left = [{DECOMPOSED: DECOMPOSED, "n": 1}]
    right = [{COMPOSED: COMPOSED, "m": 2}]
    (joined,) = run("join", config, {"A": left, "B": right})["outputData"]
    assert joined == {DECOMPOSED: COMPOSED, "n": 1, "m": 2}


async def test_a_condition_finds_a_field_in_either_form():
    assert await passes({DECOMPOSED: {"a": 1}}, conditionField=f"{COMPOSED}.a", conditionValue=1)
    assert await passes({COMPOSED: 1}, conditionField=DECOMPOSED, conditionValue=1)
    assert not await passes({COMPOSED: 1}, conditionField="Zoe", conditionValue=1)


def test_groups_are_the_same_in_either_form():
    output = run("aggregate", {"groupBy": "g"}, [{"g": COMPOSED}, {"g": DECOMPOSED}])["outputData"]
    assert output == [{"g": COMPOSED, "count": 2}]


# The field of a test


def inside(item: Any) -> None:
    loop = {"item": item, "index": 1, "number": 2, "count": 3, "outer": {"item": "o", "index": 0}}
    enter_node_run(NodeRun(loop=lambda: loop, output_of=lambda _node_id: {"rate": 2}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loop.item", "b@y.org"),
        ("loop.index", 1),
        ("loop.number", 2),
        ("loop.count", 3),
        ("loop.outer.item", "o"),
        ("{{ loop.item }}", "b@y.org"),
        ("{{ loop.item | upper }}", "B@Y.ORG"),
        ("{{ input }}", "in"),
        ("{{ nodes.rates.output.rate }}", 2),
        ("<{{ loop.number }}>", "<2>"),
    ],
)
async def test_a_test_reads_the_loop_and_templates(field: str, value: Any):
    inside("b@y.org")
    assert await passes("in", conditionField=field, conditionValue=value)
    further = [{"field": field, "value": value}]
    assert await passes(
        "in", conditionField="loop.index", conditionValue=1, additionalConditions=further
    )


async def test_a_field_of_the_input_takes_precedence_over_the_loop():
    inside("theirs")
    data = {"loop": {"item": "mine"}}
    assert await passes(data, conditionField="loop.item", conditionValue="mine")
    config = {"conditionField": "loop.item", "conditionValue": "theirs", "processingMode": "perRow"}
    sorted_ = await run("condition", config, [data, {}])
    assert (sorted_["trueRecords"], sorted_["falseRecords"]) == ([{}], [data])


async def test_a_field_that_an_item_does_not_have_is_missing():
    inside({"name": "Ada"})
    assert await passes({}, conditionField="loop.item.name", conditionValue="Ada")
    assert await passes({}, conditionField="loop.item.mail", conditionOperator="isEmpty")
    assert not await passes({}, conditionField="loop.item.mail", conditionValue="")


@pytest.mark.parametrize("field", ["loop.items", "loop.outer.number", "loop.outer.outer.item"])
async def test_a_name_that_the_loop_does_not_have_is_an_error(field: str):
    inside("x")
    with pytest.raises(NodeError, match=f"the loop has no field '{field}' .it has: "):
        await passes({}, conditionField=field, conditionOperator="isEmpty")


async def test_outside_of_a_loop_its_item_is_an_error():
    for field in ("loop.item", "{{ loop.item }}"):
        with pytest.raises(NodeError, match=r"'loop.item'.*not inside a loop"):
            await passes({}, conditionField=field, conditionValue=1)


# Blank rows


@pytest.mark.parametrize(
    ("node_type", "config", "key", "blank"),
    [
        ("condition", {"conditionField": "a"}, "additionalConditions", {"field": "", "value": ""}),
        ("filter", {"conditionField": "a"}, "additionalConditions", {"operator": "equals"}),
        ("http", {"httpUrl": "http://x"}, "httpHeaders", {"key": "", "value": ""}),
        ("http", {"httpUrl": "http://x"}, "httpQuery", {"key": "", "value": None}),
        ("renameColumns", {"renameMapping": [{"from": "a", "to": "b"}]}, "renameMapping", {}),
        ("aggregate", {}, "aggregations", {"operation": "sum", "field": "", "as": ""}),
        ("aggregate", {}, "groupBy", ""),
        ("splitColumns", {"columnsOutputA": ["a"]}, "columnsOutputB", " "),
        ("splitText", {"splitField": "a"}, "splitInto", ""),
        ("llm", {"llmPrompt": "p"}, "enumOptions", ""),
        ("webhookResponse", {}, "webhookResponseHeaders", {"key": "", "value": ""}),
        ("webhookResponse", {}, "webhookResponseFields", ""),
    ],
)
@pytest.mark.parametrize("row", ["blank", "null", "{}", "id"])
def test_a_blank_row_is_ignored(
    node_type: str, config: dict[str, Any], key: str, blank: Any, row: str
):
    rows = {
        "blank": blank,
        "null": None,
        "{}": {},
        "id": {"id": "r1"} if blank in ({}, "") else blank,
    }
    added = rows[row]
    if isinstance(blank, str) and row != "null":
        added = blank
    model = DEFAULT.config(node_type)
    settled = [*config.get(key, []), added, added]
    assert model.model_validate({**config, key: settled}) == model.model_validate(config)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"value": 1}, "'additionalConditions.2.field' is required"),
        ({"field": "", "value": 0}, "'additionalConditions.2.field' is required"),
        ({"feild": "a"}, "'additionalConditions.2.field' is required"),
        ({"field": "b", "operator": "near"}, "'additionalConditions.2.operator' names an unknown"),
        ("x", "'additionalConditions.2' should be an object"),
    ],
)
def test_a_row_that_says_something_is_judged_at_its_own_place(row: Any, reason: str):
    rows = [{"field": "", "operator": "isEmpty", "value": ""}, {"field": "a"}, row]
    config = {"conditionField": "a", "additionalConditions": rows}
    node = Node("n1", "condition", "N", config, "/nodes/0", "/nodes/0/config")
    (problem,) = DEFAULT.check(node)
    assert reason in problem.detail
    assert problem.pointer.startswith("/nodes/0/config/additionalConditions/2")


# Filters


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ body | fromjson }}", {"a": [1, 2.5, None]}),
        ("{{ body | fromjson | json }}", '{"a":[1,2.5,null]}'),
        ("n={{ number | fromjson }}", "n=12"),
        ("{{ text | urlencode }}", "AC%2FDC%20%231%3F%20%26%20K%C3%B6ln"),
        ("?{{ query | urlencode }}", "?a%20b=1%262&c=x&c=true"),
        ("{{ number | int | urlencode }}", "12"),
    ],
)
def test_the_filters_read_json_and_encode_for_urls(template: str, expected: Any):
    data = {
        "body": '{"a": [1, 2.5, null]}',
        "number": "12",
        "text": "AC/DC #1? & Köln",
        "query": {"a b": "1&2", "c": ["x", True]},
    }
    assert render(template, data) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ v | fromjson }}", "the filter 'fromjson' accepts a JSON string, not '{oops'"),
        ("{{ n | fromjson }}", "the filter 'fromjson' accepts a JSON string, not a value of type"),
        (
            "{{ l | urlencode }}",
            "'urlencode' accepts a string, not a value of type list",
        ),
        (
            "{{ o | urlencode }}",
            "'urlencode' accepts a string, not a value of type object",
        ),
        ("{{ gone | fromjson }}", "the input has no field 'gone'"),
    ],
)
def test_the_filters_reject_values_that_they_do_not_support(template: str, message: str):
    with pytest.raises(NodeError, match=message):
        render(template, {"v": "{oops", "n": 5, "l": ["a"], "o": {"a": {"b": 1}}})
