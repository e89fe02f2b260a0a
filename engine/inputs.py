"""Inputs: assigns the ``inputs`` of a request to nodes and fires entry nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.document import Node, escape_pointer
from engine.errors import InvalidInputsError, Problem
from engine.graph import ENTRY_TYPES, SCHEDULE, TRIGGER, WEBHOOK, Graph
from engine.json_values import JsonValue, is_object, kind_of

MANUAL_INPUT = "manualInput"
INPUT_VALUE = "inputVarValue"
"""Config key of a ``manualInput`` that a value of the request replaces."""
WEBHOOK_DATA = "_webhookData"
"""Key of ``inputs`` whose value is the payload of the webhook nodes."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """The start of a run."""

    fired: frozenset[str]
    """The entry nodes at the roots that run; the others are skipped."""
    payloads: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """The outputs of entry nodes, by node id."""
    values: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """The values that replace the configured ones of ``manualInput`` nodes, by node id."""


def start_manually(graph: Graph, inputs: Mapping[str, JsonValue] | None) -> RunStart:
    """Return the start of an execution that a request submits.

    Raises:
        InvalidInputsError: If no node accepts a key; the error names every such key.
    """
    roots = {node.id: node for node in graph.roots if node.type in ENTRY_TYPES}
    triggers = [node_id for node_id, node in roots.items() if node.type == TRIGGER]
    webhooks = [node_id for node_id, node in roots.items() if node.type == WEBHOOK]
    schedules = [node_id for node_id, node in roots.items() if node.type == SCHEDULE]

    nodes = {node.id: node for node in graph.document.nodes}
    payloads: dict[str, JsonValue] = {}
    values: dict[str, JsonValue] = {}
    loose: dict[str, JsonValue] = {}
    problems: list[Problem] = []
    for key, value in (inputs or {}).items():
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
            problems.append(_unknown_input(key, node))
    if inputs and WEBHOOK_DATA in inputs and WEBHOOK_DATA not in nodes:
        for node_id in webhooks:
            payloads.setdefault(node_id, inputs[WEBHOOK_DATA])
    if loose:
        problems.extend(_add_loose(loose, triggers, payloads))
    if problems:
        raise InvalidInputsError(problems)
    named = {node_id for node_id in (*webhooks, *schedules) if node_id in payloads}
    return RunStart(frozenset(triggers or webhooks or schedules) | named, payloads, values)


def start_at_entry(node_id: str, payload: JsonValue) -> RunStart:
    """Return the start of an execution by a webhook request or a schedule: it fires one node."""
    return RunStart(frozenset({node_id}), {node_id: payload})


def start_as(trigger: str, graph: Graph, inputs: Mapping[str, JsonValue] | None) -> RunStart:
    """Return the start of an execution with this ``triggerType``.

    The ``inputs`` of a webhook request or a schedule are the payload by the id of the fired node.
    Raises an ``InvalidInputsError`` like ``start_manually``.
    """
    if trigger in (WEBHOOK, SCHEDULE) and inputs is not None and len(inputs) == 1:
        ((node_id, payload),) = inputs.items()
        return start_at_entry(node_id, payload)
    return start_manually(graph, inputs)


def _add_loose(
    loose: dict[str, JsonValue], triggers: list[str], payloads: dict[str, JsonValue]
) -> list[Problem]:
    """Add keys that are not node ids to every trigger's payload; fields by id have precedence."""
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


def _unknown_input(key: str, node: Node | None) -> Problem:
    pointer = f"/inputs/{escape_pointer(key)}"
    if node is not None:
        why = "which is disabled" if node.disabled else "which accepts no input"
        detail = f"input '{key}' names a node of type '{node.shown_type}', {why}"
        return Problem("unknown_input", detail, pointer, node.id)
    why = "no webhook node" if key == WEBHOOK_DATA else "neither this node nor a trigger"
    detail = f"no node accepts input '{key}': the workflow has {why}"
    return Problem("unknown_input", detail, pointer)
