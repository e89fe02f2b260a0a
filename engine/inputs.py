"""The ``inputs`` of a request: which node takes what, and which entry nodes they fire."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.document import Node, escape_pointer
from engine.errors import InvalidInputsError, Problem
from engine.graph import ENTRY_TYPES, TRIGGER, WEBHOOK, Graph
from engine.json_values import JsonValue, is_object, kind_of

MANUAL_INPUT = "manualInput"
INPUT_VALUE = "inputVarValue"
"""The config key of a ``manualInput`` that a value from the request takes the place of."""
WEBHOOK_DATA = "_webhookData"
"""The key of ``inputs`` whose value is the payload of the webhook nodes."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """How a run begins."""

    fired: frozenset[str]
    """Entry nodes at the roots that run; the others are skipped."""
    payloads: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """What an entry node passes on, by node id."""
    values: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """What a ``manualInput`` takes in place of its configured value, by node id."""


def start_manually(graph: Graph, inputs: Mapping[str, JsonValue] | None) -> RunStart:
    """How an execution that a person or a program asked for begins.

    Raises:
        InvalidInputsError: a key that no node takes; names every one.
    """
    given = dict(inputs or {})
    roots = {node.id: node for node in graph.roots if node.type in ENTRY_TYPES}
    triggers = [node_id for node_id, node in roots.items() if node.type == TRIGGER]
    webhooks = [node_id for node_id, node in roots.items() if node.type == WEBHOOK]

    nodes = {node.id: node for node in graph.document.nodes}
    payloads: dict[str, JsonValue] = {}
    values: dict[str, JsonValue] = {}
    loose: dict[str, JsonValue] = {}
    problems: list[Problem] = []
    for key, value in given.items():
        node = nodes.get(key)
        if node is None and key == WEBHOOK_DATA and webhooks:
            continue
        if node is None and key != WEBHOOK_DATA and triggers:
            loose[key] = value
        elif node is not None and node.type == MANUAL_INPUT:
            values[key] = value
        elif node is not None and node.id in roots:
            payloads[key] = value
        else:
            problems.append(_untaken(key, node))
    if WEBHOOK_DATA in given and WEBHOOK_DATA not in nodes:
        for node_id in webhooks:
            payloads.setdefault(node_id, given[WEBHOOK_DATA])
    if loose:
        problems.extend(_add_loose(loose, triggers, payloads))
    if problems:
        raise InvalidInputsError(problems)
    named = {node_id for node_id in webhooks if node_id in payloads}
    return RunStart(frozenset(triggers or webhooks) | named, payloads, values)


def start_by_webhook(
    graph: Graph,  # noqa: ARG001 - asked the same way as start_manually
    node_id: str,
    payload: JsonValue,
) -> RunStart:
    """How an execution that a webhook delivery started begins: that node alone is fired."""
    return RunStart(frozenset({node_id}), {node_id: payload})


def start_as(trigger: str, graph: Graph, inputs: Mapping[str, JsonValue] | None) -> RunStart:
    """How an execution begins that was asked for by ``trigger``, its ``triggerType``.

    The ``inputs`` of a webhook delivery are its payload by the id of the node that is fired.

    Raises:
        InvalidInputsError: see ``start_manually``.
    """
    if trigger == WEBHOOK and inputs is not None and len(inputs) == 1:
        ((node_id, payload),) = inputs.items()
        return start_by_webhook(graph, node_id, payload)
    return start_manually(graph, inputs)


def _add_loose(
    loose: dict[str, JsonValue], triggers: list[str], payloads: dict[str, JsonValue]
) -> list[Problem]:
    """Puts the keys that are no node's id into every trigger's payload; by-id fields win."""
    problems: list[Problem] = []
    for node_id in triggers:
        own = payloads.get(node_id, {})
        if is_object(own):
            payloads[node_id] = {**loose, **own}
            continue
        problems.extend(
            Problem(
                "unknown_input",
                f"input '{key}' cannot be added to the payload of trigger '{node_id}', "
                f"which is of type {kind_of(own)}",
                f"/inputs/{escape_pointer(key)}",
                node_id,
            )
            for key in loose
        )
    return problems


def _untaken(key: str, node: Node | None) -> Problem:
    pointer = f"/inputs/{escape_pointer(key)}"
    if node is not None:
        why = "which is disabled" if node.disabled else "which takes no input"
        detail = f"input '{key}' names a node of type '{node.shown_type}', {why}"
        return Problem("unknown_input", detail, pointer, node.id)
    missing = "webhook node" if key == WEBHOOK_DATA else "node of that id, and no trigger"
    return Problem("unknown_input", f"nothing takes input '{key}': there is no {missing}", pointer)
