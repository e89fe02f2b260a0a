"""Probe nodes: node types for tests, with gates that a test opens and faulty handlers."""

import asyncio
import threading
from typing import Any

from prefect import task

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.gates import OPEN_CHECK_SECONDS, Gates, current_gates, fresh_gates

__all__ = ["PROBES", "PROBE_TYPES", "RESULTS", "Gates", "fresh_gates"]


@task(name="gate")
async def handle_gate(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Wait at the gate of ``config.gate`` or of the node id."""
    name = node["config"].get("gate", node["id"])
    mine = current_gates()
    mine.enter(name)
    try:
        while not mine.is_open(name):
            await asyncio.sleep(OPEN_CHECK_SECONDS)
    except asyncio.CancelledError:
        mine.left.append(name)
        raise
    return {"success": True, "outputData": input_data}


@task(name="raise")
async def handle_raise(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Fail with ``config.message``."""
    raise RuntimeError(node["config"].get("message", "it went wrong"))


@task(name="flaky")
async def handle_flaky(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Fail ``config.failures`` times, counted by the name of the gate, and then succeed."""
    name = node["config"].get("name", node["id"])
    mine = current_gates()
    mine.enter(name)
    attempt = mine.runs.count(name)
    if attempt <= node["config"]["failures"]:
        raise RuntimeError(f"attempt {attempt} went wrong")
    return {"success": True, "outputData": {"attempt": attempt}}


@task(name="give")
async def handle_give(node: dict[str, Any], input_data: object) -> object:
    """Return the value of ``RESULTS`` for ``config.gift``."""
    return RESULTS[node["config"]["gift"]]


@task(name="mutate")
async def handle_mutate(node: dict[str, Any], input_data: dict[str, Any]) -> dict[str, Any]:
    """Change the input in place, which handlers must not do."""
    input_data["changedBy"] = node["id"]
    return {"success": True, "outputData": input_data}


@task(name="sync")
def handle_sync(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Wait at the gate in a synchronous handler."""
    name = node["config"].get("gate", node["id"])
    mine = current_gates()
    mine.enter(name)
    mine.wait_open(name, 20)
    return {"success": True, "outputData": {"thread": threading.current_thread().name}}


SECRET_OUTPUT = "c4n4ry of the mine"


@task(name="mine")
async def handle_mine(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Return a secret that no document contains."""
    return {"outputData": {"secret": SECRET_OUTPUT}, "message": SECRET_OUTPUT}


RESULTS: dict[str, Any] = {
    "no dict": ["a", "list"],
    "nothing": None,
    "NaN": {"success": True, "outputData": {"x": [1.0, float("nan")]}},
    "infinity": {"success": True, "outputData": float("inf")},
    "bytes": {"success": True, "outputData": {"raw": b"\x00\x01"}},
    "a set": {"success": True, "outputData": {1, 2}},
    "an object": {"success": True, "outputData": {"o": object()}},
    "a lone surrogate": {"success": True, "outputData": "\ud800"},
    "a bad detail": {"success": True, "outputData": 1, "extra": {"raw": b"x"}},
    "a tuple key": {"success": True, "outputData": {(1, 2): 3}},
    "a failure": {"success": False, "message": "the other side said no"},
    "a mute failure": {"success": False},
    "no output": {"success": True},
    "10 MB": {"success": True, "outputData": {"text": "x" * 10_000_000}},
    "unicode": {"success": True, "outputData": {"ключ": "значение 🎉", "nul": "a\x00b"}},
    "scalar": {"success": True, "outputData": 42},
}

_circle: dict[str, Any] = {}
_circle["me"] = _circle
RESULTS["a circle"] = {"success": True, "outputData": _circle}
_deep: list[Any] = []
for _ in range(5_000):
    _deep = [_deep]
RESULTS["deep"] = {"success": True, "outputData": _deep}

PROBES = {
    "gate": handle_gate,
    "raise": handle_raise,
    "flaky": handle_flaky,
    "give": handle_give,
    "mutate": handle_mutate,
    "sync": handle_sync,
    "mine": handle_mine,
}

PROBE_TYPES = NodeTypes({**NODE_HANDLERS, **PROBES}, NODE_CONFIGS)
"""The node types of the service and the probes."""
