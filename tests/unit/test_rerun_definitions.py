"""Reruns of another definition: a result is reused if its node and its ancestors are unchanged."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.graph import Graph
from engine.rerun import changed_by_definition
from engine.validation import read_graph
from tasks.registry import DEFAULT
from tests.support.documents import document, node

Change = Callable[[dict[str, Any]], object]

BEFORE = document(
    node("start", "trigger"),
    node("a", "addField", addFieldName="a", addFieldValue=1),
    node("b", "addField", addFieldName="b", addFieldValue=2),
    node("loop", "forEach"),
    node("inside", "addField", addFieldName="c", addFieldValue=3),
    node("last", "addField", addFieldName="d", addFieldValue=4),
    node("after"),
    flow=(
        "start -> a",
        "start -> b",
        "b -> loop",
        "loop -item-> inside",
        "inside -> last",
        "loop -done-> after",
    ),
)


def graph_of(definition: dict[str, Any]) -> Graph:
    return read_graph(json.dumps(definition), DEFAULT.rules)


def changed(change: Change) -> set[str]:
    after = copy.deepcopy(BEFORE)
    change(after)
    return changed_by_definition(graph_of(BEFORE), graph_of(after))


def the(definition: dict[str, Any], node_id: str) -> dict[str, Any]:
    return next(item for item in definition["nodes"] if item["id"] == node_id)


def set_config(node_id: str, **config: object) -> Change:
    return lambda definition: the(definition, node_id)["config"].update(config)


def connect(source: str, target: str) -> Change:
    new = {"id": "new", "fromNodeId": source, "toNodeId": target}
    return lambda definition: definition["connections"].append(new)


def disconnect(*ends: str) -> Change:
    def change(definition: dict[str, Any]) -> None:
        definition["connections"] = [
            each
            for each in definition["connections"]
            if (each["fromNodeId"], each["toNodeId"]) != ends
        ]

    return change


def remove(node_id: str) -> Change:
    def change(definition: dict[str, Any]) -> None:
        definition["nodes"] = [item for item in definition["nodes"] if item["id"] != node_id]
        definition["connections"] = [
            each
            for each in definition["connections"]
            if node_id not in (each["fromNodeId"], each["toNodeId"])
        ]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda definition: the(definition, "a").update(label="new", x=9, y=9), set()),
        (lambda definition: definition["nodes"].reverse(), set()),
        (lambda definition: definition["connections"].reverse(), set()),
        (set_config("a", addFieldValue=9), {"a"}),
        (set_config("b", addFieldValue=9), {"b"}),
        (set_config("start", note="x"), {"start"}),
        (lambda definition: the(definition, "a").update(disabled=True), {"a"}),
        (lambda definition: the(definition, "a").update(type="output"), {"a"}),
        (lambda definition: definition["nodes"].append(node("new")), {"new"}),
        (connect("a", "b"), {"b"}),
        (disconnect("start", "a"), {"a"}),
        (set_config("last", addFieldValue=9), {"last"}),
        (remove("last"), {"loop"}),
        (remove("a"), set()),
    ],
)
def test_changed_nodes_are_found(change: Change, expected: set[str]) -> None:
    """The nodes downstream of them, and the loops around them, run again too."""
    assert changed(change) == expected
