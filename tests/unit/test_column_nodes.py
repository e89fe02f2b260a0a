"""splitText and renameColumns nodes."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.document import Node
from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS
from tasks.records.columns import MAX_COLUMNS
from tasks.registry import DEFAULT


def split(data: Any, **config: Any) -> Any:
    config = {"splitField": "f", "splitKeepSource": False, **config}
    return NODE_HANDLERS["splitText"].fn({"config": config}, data)["outputData"]


def rename(data: Any, mapping: Any, **config: Any) -> Any:
    config = {"renameMapping": mapping, **config}
    return NODE_HANDLERS["renameColumns"].fn({"config": config}, data)["outputData"]


def problems_of(node_type: str, config: dict[str, Any]) -> list[str]:
    node = Node("n1", node_type, "N", config, "/nodes/0", "/nodes/0/config")
    return [problem.detail.partition("): ")[2] for problem in DEFAULT.check(node)]


# splitText


@pytest.mark.parametrize(
    ("config", "text", "columns"),
    [
        ({}, "a,b", {"f_1": "a", "f_2": "b"}),
        ({}, "a", {"f_1": "a"}),
        ({}, "", {"f_1": ""}),
        ({}, ",", {"f_1": "", "f_2": ""}),
        ({}, " a , b ", {"f_1": "a", "f_2": "b"}),
        ({"splitTrim": False}, " a , b ", {"f_1": " a ", "f_2": " b "}),
        ({"splitSeparator": ""}, "a,b", {"f_1": "a", "f_2": "b"}),
        ({"splitSeparator": None}, "a,b", {"f_1": "a", "f_2": "b"}),
        ({"splitSeparator": " "}, "a b", {"f_1": "a", "f_2": "b"}),
        ({"splitSeparator": " - "}, "a-b - c", {"f_1": "a-b", "f_2": "c"}),
        ({"splitSeparator": "\\t"}, "a\tb", {"f_1": "a", "f_2": "b"}),
        ({"splitSeparator": "\\n"}, "a\nb", {"f_1": "a", "f_2": "b"}),
        ({"splitSeparator": 0}, "102", {"f_1": "1", "f_2": "2"}),
        # characters of regular expressions have no special meaning
        ({"splitSeparator": ".*"}, "a.*b.c", {"f_1": "a", "f_2": "b.c"}),
        ({"splitMode": "whitespace"}, " a \t b\n", {"f_1": "a", "f_2": "b"}),
        ({"splitMode": "whitespace"}, " ", {"f_1": ""}),
        # other values are split as strings
        ({"splitSeparator": "."}, 12.5, {"f_1": "12", "f_2": "5"}),
        ({"splitSeparator": "u"}, True, {"f_1": "tr", "f_2": "e"}),
        # names
        ({"splitInto": "x, y"}, "a,b", {"x": "a", "y": "b"}),
        ({"splitInto": ["x", "", None, "f"]}, "a,b", {"x": "a", "f": "b"}),
        ({"splitInto": "x\ny\nz"}, "a,b", {"x": "a", "y": "b", "z": None}),
        ({"splitInto": "x,y"}, None, {"x": None, "y": None}),
        ({}, None, {}),
        # more parts than columns
        ({"splitInto": "x,y"}, "a,b, c,d", {"x": "a", "y": "b, c,d"}),
        ({"splitInto": "x"}, "a,b", {"x": "a,b"}),
        ({"splitInto": "x,y", "splitTooMany": "drop"}, "a,b,c", {"x": "a", "y": "b"}),
        ({"splitInto": "x", "splitTooMany": "drop"}, "a,b,c", {"x": "a"}),
        (
            {"splitMode": "whitespace", "splitInto": "x,y"},
            "a b  c",
            {"x": "a", "y": "b  c"},
        ),
    ],
)
def test_a_string_is_split_into_columns(config: dict[str, Any], text: Any, columns: Any):
    assert split({"f": text}, **config) == columns
    assert split([{"f": text}], **config) == [columns]


def test_new_columns_replace_or_follow_the_source():
    record = {"a": 1, "f": "x,y", "z": {"deep": [2]}}
    assert list(split(record)) == ["a", "f_1", "f_2", "z"]
    kept = split(record, splitKeepSource=True)
    assert list(kept) == ["a", "f", "f_1", "f_2", "z"]
    assert kept == {"a": 1, "f": "x,y", "f_1": "x", "f_2": "y", "z": {"deep": [2]}}


def test_the_source_is_kept_by_default():
    config = {"splitColumn": "f"}
    output = NODE_HANDLERS["splitText"].fn({"config": config}, {"f": "x"})["outputData"]
    assert output == {"f": "x", "f_1": "x"}


def test_columns_without_names_match_the_number_of_parts():
    assert split([{"f": "a,b"}, {"f": "c"}]) == [{"f_1": "a", "f_2": "b"}, {"f_1": "c"}]
    assert split([]) == []


def test_the_number_of_columns_is_limited():
    columns = split({"f": "," * 5_000})
    assert len(columns) == MAX_COLUMNS
    assert columns[f"f_{MAX_COLUMNS}"].startswith(",")


@pytest.mark.parametrize(
    ("data", "config", "message"),
    [
        (None, {}, "an object or a list of objects is needed; the input is of type null"),
        ("x", {}, "the input is of type string"),
        ([{"f": "a"}, 5], {}, "record 1 is of type number, not an object"),
        ([{"f": "a"}, {"g": 1}], {}, r"record 1: no field 'f' \(it has: g\)"),
        ([{}], {}, r"record 0: no field 'f' \(it has: no fields\)"),
        ([{"f": ["a"]}], {}, "record 0: field 'f' is of type list, not a string"),
        ({"f": {}}, {}, "field 'f' is of type object, not a string"),
        (
            [{"f": "a", "x": 1}],
            {"splitInto": "x"},
            "record 0: the output would have two fields 'x'",
        ),
        (
            [{"x": 1, "f": "a"}],
            {"splitInto": "x"},
            "record 0: the output would have two fields 'x'",
        ),
        (
            [{"f": "a"}],
            {"splitInto": "x,y", "splitTooFew": "error"},
            "record 0: field 'f' has 1 of 2 parts",
        ),
        (
            [{"f": "a,b,c"}],
            {"splitInto": "x,y", "splitTooMany": "error"},
            "record 0: field 'f' has more than 2 parts",
        ),
    ],
)
def test_a_split_error_names_record_and_field(data: Any, config: dict[str, Any], message: str):
    with pytest.raises(NodeError, match=message) as raised:
        split(data, **config)
    assert not raised.value.retryable


def test_records_without_the_split_field_can_be_ignored():
    data = [{"f": "a,b"}, {"g": 1}]
    assert split(data, splitMissing="ignore", splitInto="x,y") == [
        {"x": "a", "y": "b"},
        {"g": 1, "x": None, "y": None},
    ]
    assert split(data, splitMissing="ignore")[1] == {"g": 1}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "'splitField' is required"),
        ({"splitField": "{{ f }}"}, "'splitField' should be the name of a field, without {{ }}"),
        ({"splitMode": "regex"}, "'splitMode' should be 'separator' or 'whitespace'"),
        ({"splitSeparator": ["x"]}, "'splitSeparator' should be a string, not of type list"),
        ({"splitInto": "x,x"}, "'splitInto' names 'x' twice"),
        ({"splitInto": 5}, "'splitInto' should be a list, or a string with commas"),
        ({"splitInto": ["f"]}, "'splitInto' names the split field, which is kept"),
        ({"splitTooFew": "x"}, "'splitTooFew' should be 'null' or 'error'"),
        ({"splitTooMany": "x"}, "'splitTooMany' should be 'merge', 'drop' or 'error'"),
        ({"splitMissing": "x"}, "'splitMissing' should be 'error' or 'ignore'"),
        ({"splitTrim": "x"}, "'splitTrim' should be true or false"),
    ],
)
def test_an_invalid_split_config_is_rejected(config: dict[str, Any], reason: str):
    (problem,) = problems_of("splitText", {"splitField": "f", **config} if config else {})
    assert reason in problem


@given(parts=st.lists(st.text(alphabet="ab .,", max_size=4), min_size=1, max_size=5))
def test_a_joined_string_is_split_into_its_parts(parts: list[str]):
    columns = split({"f": "|".join(parts)}, splitSeparator="|", splitTrim=False)
    assert list(columns.values()) == parts


@given(text=st.text(alphabet="ab;-", max_size=12), limit=st.integers(1, 5))
def test_merging_keeps_every_character(text: str, limit: int):
    names = [f"n{i}" for i in range(limit)]
    columns = split({"f": text}, splitSeparator="-", splitTrim=False, splitInto=names)
    assert list(columns) == names
    assert "-".join(part for part in columns.values() if part is not None) == text


# renameColumns


@pytest.mark.parametrize(
    ("mapping", "record", "renamed"),
    [
        ({"a": "b"}, {"x": 1, "a": 2, "z": 3}, {"x": 1, "b": 2, "z": 3}),
        ({"Price ": "price"}, {"Price ": "5"}, {"price": "5"}),
        ([{"from": " a ", "to": " b "}], {" a ": 1, "a": 2}, {" b ": 1, "a": 2}),
        ([{"from": "", "to": ""}, {}, None, {"from": "a", "to": "b"}], {"a": 1}, {"b": 1}),
        ({"": "", "a": "b"}, {"a": 1}, {"b": 1}),
        ('{"a": "b"}', {"a": 1}, {"b": 1}),
        ({"a": "b", "b": "a"}, {"a": 1, "b": 2}, {"b": 1, "a": 2}),
        ({"a": "a"}, {"a": 1}, {"a": 1}),
        ({"a": "b", "b": "c"}, {"a": 1, "b": 2}, {"b": 1, "c": 2}),
        ({"a.b": "c.d"}, {"a.b": 1}, {"c.d": 1}),
        ({"a": 5}, {"a": None}, {"5": None}),
    ],
)
def test_renamed_fields_keep_their_order(mapping: Any, record: Any, renamed: Any):
    assert list(rename(record, mapping).items()) == list(renamed.items())
    assert rename([record, record], mapping) == [renamed, renamed]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "the input is of type null"),
        (5, "the input is of type number"),
        ([{"a": 1}, None], "record 1 is of type null, not an object"),
        ([{"a": 1}, {"x": 1, "c": 2}], r"record 1: no field 'a' \(it has: c, x\)"),
        ([{"a": 1, "b": 2}], "record 0: the output would have two fields 'b'"),
        ({"b": 1, "a": 2}, "the output would have two fields 'b'"),
        # a path is not a name: nested fields are not renamed
        ({"x": {"a": 1}}, "no field 'a'"),
    ],
)
def test_a_rename_error_names_record_and_field(data: Any, message: str):
    with pytest.raises(NodeError, match=message) as raised:
        rename(data, {"a": "b"})
    assert not raised.value.retryable


def test_missing_fields_can_be_ignored_by_a_rename():
    data = [{"mail": 1}, {"eMail": 2}, {}]
    mapping = {"mail": "email", "eMail": "email"}
    assert rename(data, mapping, renameMissing="ignore") == [{"email": 1}, {"email": 2}, {}]
    with pytest.raises(NodeError, match="record 0: the output would have two fields 'email'"):
        rename([{"mail": 1, "eMail": 2}], mapping, renameMissing="ignore")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "'renameMapping' is required"),
        ({"renameMapping": ""}, "'renameMapping' is required"),
        ({"renameMapping": {}}, "'renameMapping' should name at least one field"),
        ({"renameMapping": "a"}, "'renameMapping' should be an object of old and new names"),
        ({"renameMapping": {"a": " "}}, "'renameMapping' needs a new name for 'a'"),
        ({"renameMapping": [{"from": "a"}]}, "'renameMapping.0.to' is required"),
        ({"renameMapping": [{"from": "a", "to": "{{ b }}"}]}, "without {{ }}"),
        (
            {"renameMapping": [{"from": "a", "to": "b"}, {"from": "a", "to": "c"}]},
            "'renameMapping' names 'a' twice",
        ),
        ({"renameMapping": {"a": "b"}, "renameMissing": "x"}, "should be 'error' or 'ignore'"),
    ],
)
def test_an_invalid_rename_config_is_rejected(config: dict[str, Any], reason: str):
    (problem,) = problems_of("renameColumns", config)
    assert reason in problem


names = st.sampled_from(["a", "b", "c", "d"])


@given(
    record=st.dictionaries(names, st.integers() | st.none()),
    mapping=st.dictionaries(names, st.sampled_from(["p", "q", "r", "s"]), min_size=1),
)
def test_renaming_keeps_values_and_order_or_is_rejected(
    record: dict[str, Any], mapping: dict[str, str]
):
    expected = [mapping.get(name, name) for name in record]
    if len(set(expected)) < len(expected):
        with pytest.raises(NodeError, match="two fields"):
            rename(record, mapping, renameMissing="ignore")
        return
    renamed = rename(record, mapping, renameMissing="ignore")
    assert list(renamed) == expected
    assert list(renamed.values()) == list(record.values())


def test_the_time_grows_with_the_number_of_records():
    few, many = 1_000, 40_000
    data = [{"f": f"{i},b,c", "g": i} for i in range(many)]

    def seconds(count: int) -> float:
        part = data[:count]
        started = time.process_time()
        assert len(split(part, splitInto="x,y,z")) == len(rename(part, {"f": "h"})) == count
        return time.process_time() - started

    # Of processor time. The expected ratio is 40; in quadratic time it is 1,600.
    assert seconds(many) < 160 * min(seconds(few) for _ in range(3))
