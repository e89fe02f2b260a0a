"""Redaction: replaces the data of nodes with ``hideData`` by a placeholder."""

from collections.abc import Mapping
from dataclasses import replace

from engine.data_flow import PORT_DATA, branches_of
from engine.document import Node
from engine.json_values import JsonValue
from engine.options import NodeOptions
from engine.outcome import Outcome
from engine.status import NodeStatus

HIDDEN: Mapping[str, JsonValue] = {"hidden": True}
"""Placeholder for an input, an output or a result."""


def hides_data(node: Node) -> bool:
    """Return whether the data of a node must not be readable."""
    return bool(NodeOptions.model_validate(node.config).hide_data) if node.config else False


def redacted(outcome: Outcome) -> Outcome:
    """Return an outcome without its data; its live connections stay the same."""
    if outcome.status != NodeStatus.COMPLETED:
        return outcome
    result: dict[str, JsonValue] = {"outputData": dict(HIDDEN)}
    if isinstance(condition := outcome.result.get("conditionResult"), bool):
        result["conditionResult"] = condition
    if isinstance(outcome.result.get(PORT_DATA), bool | Mapping):
        live = branches_of(outcome.result) or {}
        result[PORT_DATA] = {port: dict(HIDDEN) for port in live}
    for side in ("trueRecords", "falseRecords"):
        if isinstance(records := outcome.result.get(side), list):
            result[side] = [dict(HIDDEN)] if records else []
    return replace(outcome, result=result)
