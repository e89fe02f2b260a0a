"""Probe nodes: node types for tests, with gates that a test opens and faulty handlers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes


class Gates:
    """Named gates: a ``gate`` node reports that it has started and waits until the gate is open."""

    def __init__(self) -> None:
        self._entered: dict[str, threading.Event] = {}
        self._opened: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.runs: list[str] = []
        """The gates in the order in which nodes started to wait."""
        self.left: list[str] = []
        """The gates whose nodes were cancelled."""

    def _event(self, events: dict[str, threading.Event], name: str) -> threading.Event:
        with self._lock:
            return events.setdefault(name, threading.Event())

    def enter(self, name: str) -> None:
        """Record that a node waits at its gate."""
        with self._lock:
            self.runs.append(name)
        self._event(self._entered, name).set()

    def is_open(self, name: str) -> bool:
        """Return whether the gate is open."""
        return self._event(self._opened, name).is_set()

    def open(self, *names: str) -> None:
        """Open these gates."""
        for name in names:
            self._event(self._opened, name).set()

    def wait_for(self, *names: str) -> None:
        """Wait until a node waits at each of these gates."""
        for name in names:
            assert self._event(self._entered, name).wait(20), f"no node waits at gate {name}"


gates = Gates()
"""The gates of the current test; ``fresh_gates`` replaces them."""


@contextmanager
def fresh_gates() -> Iterator[Gates]:
    """Create new gates; open all of them at the end, so that no node waits forever."""
    global gates  # noqa: PLW0603 - handlers need access to the object of the test
    gates = Gates()
    yield gates
    everything = set(gates.runs)
    gates.open(*everything)


@task(name="gate")
async def handle_gate(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Wait at the gate of ``config.gate`` or of the node id."""
    name = node["config"].get("gate", node["id"])
    mine = gates
    mine.enter(name)
    try:
        while not mine.is_open(name):
            await asyncio.sleep(0.005)  # between two checks of the gate
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
    gates.enter(name)
    attempt = gates.runs.count(name)
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
    mine = gates
    mine.enter(name)
    mine._event(mine._opened, name).wait(20)
    return {"success": True, "outputData": {"thread": threading.current_thread().name}}


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
}

PROBE_TYPES = NodeTypes({**NODE_HANDLERS, **PROBES}, NODE_CONFIGS)
"""The node types of the service and the probes."""
