"""splitColumns node: the columns of each output."""

from typing import Any

import pytest

from engine.errors import NodeError
from tasks.node_handlers import NODE_HANDLERS


def split(config: dict[str, Any], data: Any) -> Any:
    return NODE_HANDLERS["splitColumns"].fn({"id": "n", "config": config}, data)


@pytest.mark.parametrize(
    ("config", "data", "output"),
    [
        ({"columnsOutputA": ["a", "b.c"]}, {"a": 1, "b": {"c": 2}}, {"A": {"a": 1, "b.c": 2}}),
        ({"columnsOutputA": "a", "columnsOutputB": "a"}, [{"a": 1}], {"A": [{"a": 1}]}),
        ({"columnsOutputA": ["a"], "columnsOutputB": ["b"]}, [], {"A": [], "B": []}),
        ({"columnsOutputA": ["b"]}, [{"b": 1}, {"a": 2}], {"A": [{"b": 1}, {}]}),
        ({"columnsOutputA": ["x"], "columnsMissing": "ignore"}, [{"a": 1}], {"A": [{}]}),
    ],
)
def test_columns_go_to_their_outputs(config: dict[str, Any], data: Any, output: Any):
    result = split(config, data)
    expected = {"B": output["A"], **output} if config.get("columnsOutputB") == "a" else output
    assert result["outputData"] == expected
    assert result["portData"] is True


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (
            {"columnsOutputB": ["x"]},
            [{"a": 1}],
            r"no record has a field 'x' \(record 0: it",
        ),
        ({"columnsOutputB": ["x"]}, "text", "the input is of type string"),
        ({"columnsOutputB": ["x"]}, [1], "record 0 is of type number"),
        ({}, [], "'columnsOutputB' or columnsOutputA is required"),
        ({"columnsOutputA": ["a", "a"]}, [], "names 'a' twice"),
    ],
)
def test_columns_that_cannot_be_split_are_an_error(config: dict[str, Any], data: Any, message: str):
    with pytest.raises(NodeError, match=message):
        split(config, data)
