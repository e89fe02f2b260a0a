"""Start of a run: fired entry nodes and the inputs of nodes (contract, section 5)."""

from typing import Any

import pytest

from engine.document import parse_document
from engine.errors import InvalidInputsError
from engine.graph import Graph
from engine.inputs import RunStart, start_as, start_at_entry, start_manually


def graph(nodes: str, ways: str = "") -> Graph:
    """``graph("t:trigger a:http", "t>a")``."""
    return Graph(
        parse_document(
            {
                "nodes": [
                    {"id": node_id, "type": kind, "config": {}}
                    for node_id, kind in (node.split(":") for node in nodes.split())
                ],
                "connections": [
                    {"fromNodeId": source, "toNodeId": target}
                    for source, target in (way.split(">") for way in ways.split())
                ],
            }
        )
    )


TRIGGER = "t:trigger"
TWO_TRIGGERS = "t:trigger u:trigger"
WEBHOOK = "w:webhook"
BOTH = "t:trigger w:webhook v:webhook"
MANUAL = "m:manualInput"
SCHEDULE = "s:schedule"


def untaken(nodes: str, inputs: dict[str, Any], ways: str = "") -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputsError) as refused:
        start_manually(graph(nodes, ways), inputs)
    assert {problem.code for problem in refused.value.problems} == {"unknown_input"}
    return [(problem.pointer, problem.detail) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("nodes", "inputs", "fired"),
    [
        (TRIGGER, None, "t"),
        (TWO_TRIGGERS, {}, "tu"),
        (TWO_TRIGGERS, {"t": {"x": 1}}, "tu"),
        (BOTH, {}, "t"),
        (BOTH, {"w": {}}, "tw"),
        (BOTH, {"w": None}, "tw"),
        (BOTH, {"_webhookData": {}}, "twv"),
        (WEBHOOK, None, "w"),
        ("w:webhook v:webhook", None, "wv"),
        ("w:webhook v:webhook", {"w": {}}, "wv"),
        (MANUAL, None, ""),
        (SCHEDULE, None, "s"),
        (f"{TRIGGER} {SCHEDULE}", {}, "t"),
        (f"{TRIGGER} {SCHEDULE}", {"s": {}}, "ts"),
        (f"{WEBHOOK} {SCHEDULE}", None, "w"),
        (f"{WEBHOOK} {SCHEDULE}", {"s": None}, "ws"),
    ],
)
def test_a_manual_start_fires_triggers_and_webhooks_only_without_one_or_where_named(
    nodes: str, inputs: dict[str, Any] | None, fired: str
) -> None:
    assert start_manually(graph(nodes), inputs).fired == set(fired)


def test_an_entry_node_that_is_fed_by_another_is_not_fired() -> None:
    start = start_manually(graph("a:http t:trigger w:webhook", "a>t"), None)

    assert start.fired == {"w"}


@pytest.mark.parametrize(
    ("nodes", "inputs", "payloads"),
    [
        (TRIGGER, {}, {}),
        (TRIGGER, {"t": {"x": 1}}, {"t": {"x": 1}}),
        (TRIGGER, {"t": [1, 2]}, {"t": [1, 2]}),
        (TRIGGER, {"x": 1, "y": 2}, {"t": {"x": 1, "y": 2}}),
        (TRIGGER, {"x": 1, "t": {"x": 2, "y": 3}}, {"t": {"x": 2, "y": 3}}),
        (TRIGGER, {"t": {"y": 3}, "x": 1}, {"t": {"x": 1, "y": 3}}),
        (TWO_TRIGGERS, {"x": 1, "u": {"y": 2}}, {"t": {"x": 1}, "u": {"x": 1, "y": 2}}),
        (WEBHOOK, {"w": {"x": 1}}, {"w": {"x": 1}}),
        (WEBHOOK, {"_webhookData": {"x": 1}}, {"w": {"x": 1}}),
        (BOTH, {"_webhookData": 1, "w": 2}, {"w": 2, "v": 1}),
        (BOTH, {"_webhookData": 1, "x": 2}, {"w": 1, "v": 1, "t": {"x": 2}}),
        ("t:trigger _webhookData:webhook", {"_webhookData": 1}, {"_webhookData": 1}),
    ],
)
def test_payloads_are_assigned_to_entry_nodes(
    nodes: str, inputs: dict[str, Any], payloads: dict[str, Any]
) -> None:
    start = start_manually(graph(nodes), inputs)

    assert start.payloads == payloads
    assert start.values == {}


def test_a_manual_input_gets_its_value_at_any_position() -> None:
    start = start_manually(
        graph("t:trigger m:manualInput n:manualInput", "t>m"), {"m": 5, "n": None}
    )

    assert start == RunStart(frozenset("t"), {}, {"m": 5, "n": None})


def test_a_key_that_is_not_a_node_id_needs_a_trigger() -> None:
    assert untaken(MANUAL, {"x": 1}) == [
        (
            "/inputs/x",
            "no node accepts input 'x': the workflow has neither this node nor a trigger",
        )
    ]
    assert untaken(WEBHOOK, {"x": 1})[0][0] == "/inputs/x"


def test_webhook_data_needs_a_webhook() -> None:
    assert untaken(TRIGGER, {"_webhookData": {}}) == [
        (
            "/inputs/_webhookData",
            "no node accepts input '_webhookData': the workflow has no webhook node",
        )
    ]


@pytest.mark.parametrize(
    ("nodes", "ways", "kind"),
    [
        ("t:trigger a:http", "t>a", "http"),
        ("t:trigger a:output", "", "output"),
        ("t:trigger a:trigger", "t>a", "trigger"),
        ("t:trigger a:comment", "", "comment"),
    ],
)
def test_a_node_that_takes_no_input_cannot_be_named(nodes: str, ways: str, kind: str) -> None:
    assert untaken(nodes, {"a": 1}, ways) == [
        ("/inputs/a", f"input 'a' names a node of type '{kind}', which accepts no input")
    ]


def test_other_keys_cannot_be_added_to_a_payload_that_is_not_an_object() -> None:
    assert untaken(TRIGGER, {"t": [1], "x": 1}) == [
        (
            "/inputs/x",
            "input 'x' cannot be added to the payload of trigger 't', which is of type list",
        )
    ]


def test_every_key_that_nothing_takes_is_named_at_once() -> None:
    found = untaken("a:http m:manualInput", {"a": 1, "m": 2, "x/y": 3, "_webhookData": 4})

    assert [pointer for pointer, _ in found] == [
        "/inputs/a",
        "/inputs/x~1y",
        "/inputs/_webhookData",
    ]


@pytest.mark.parametrize("payload", [{"x": 1}, [1], None])
def test_a_delivery_fires_that_webhook_alone(payload: Any) -> None:
    assert start_at_entry("w", payload) == RunStart(frozenset("w"), {"w": payload})


def test_only_one_payload_of_a_webhook_request_is_a_delivery() -> None:
    both = graph("t:trigger w:webhook a:http", "t>a w>a")
    payload = {"w": {"x": 1}}
    assert start_as("webhook", both, payload) == start_at_entry("w", {"x": 1})
    assert start_as("manual", both, payload) == start_manually(both, payload)
    assert start_as("webhook", both, None) == start_manually(both, None)
    assert start_as("webhook", both, {}) == start_manually(both, {})
    two = {"w": {"x": 1}, "y": 2}
    assert start_as("webhook", both, two) == start_manually(both, two)
    assert start_manually(both, payload) != start_at_entry("w", {"x": 1})
