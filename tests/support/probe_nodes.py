"""Node types that only tests have: gates that a test opens, and handlers that misbehave."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes


class Gates:
    """Named gates: a ``gate`` node says that it is there, and waits until the test opens it."""

    def __init__(self) -> None:
        self._entered: dict[str, threading.Event] = {}
        self._opened: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.runs: list[str] = []
        """The gates in the order in which nodes came to them."""
        self.left: list[str] = []
        """The gates whose nodes were cancelled while they waited."""

    def _event(self, events: dict[str, threading.Event], name: str) -> threading.Event:
        with self._lock:
            return events.setdefault(name, threading.Event())

    def enter(self, name: str) -> None:
        """A node is at its gate."""
        with self._lock:
            self.runs.append(name)
        self._event(self._entered, name).set()

    def is_open(self, name: str) -> bool:
        """Whether the node may go on."""
        return self._event(self._opened, name).is_set()

    def open(self, *names: str) -> None:
        """Lets the nodes at these gates go on."""
        for name in names:
            self._event(self._opened, name).set()

    def wait_for(self, *names: str) -> None:
        """Waits until a node is at each of these gates."""
        for name in names:
            assert self._event(self._entered, name).wait(20), f"no node came to gate {name}"


gates = Gates()
"""The gates of the test that runs; ``fresh_gates`` gives it new ones."""


@contextmanager
def fresh_gates() -> Iterator[Gates]:
    """New gates, all opened at the end, so that no node waits for ever."""
    global gates  # noqa: PLW0603 - handlers have no other way to the test's object
    gates = Gates()
    yield gates
    everything = set(gates.runs)
    gates.open(*everything)


@task(name="gate")
async def handle_gate(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Waits at the gate of ``config.gate`` or of the node's id."""
    name = node["config"].get("gate", node["id"])
    mine = gates
    mine.enter(name)
    try:
        while not mine.is_open(name):
            await asyncio.sleep(0.005)  # between two looks at the gate
    except asyncio.CancelledError:
        mine.left.append(name)
        raise
    return {"success": True, "outputData": input_data}


@task(name="raise")
async def handle_raise(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Fails with ``config.message``."""
    raise RuntimeError(node["config"].get("message", "it went wrong"))


@task(name="flaky")
async def handle_flaky(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Fails ``config.failures`` times, counted by the gate's name, and then works."""
    name = node["config"].get("name", node["id"])
    gates.enter(name)
    attempt = gates.runs.count(name)
    if attempt <= node["config"]["failures"]:
        raise RuntimeError(f"attempt {attempt} went wrong")
    return {"success": True, "outputData": {"attempt": attempt}}


@task(name="give")
async def handle_give(node: dict[str, Any], input_data: object) -> object:
    """Returns what ``GIFTS`` holds under ``config.gift``: anything a handler may return."""
    return GIFTS[node["config"]["gift"]]


@task(name="mutate")
async def handle_mutate(node: dict[str, Any], input_data: dict[str, Any]) -> dict[str, Any]:
    """Changes its input in place, which no handler should."""
    input_data["changedBy"] = node["id"]
    return {"success": True, "outputData": input_data}


@task(name="sync")
def handle_sync(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """A handler that is no coroutine function; waits at its gate like ``gate``."""
    name = node["config"].get("gate", node["id"])
    mine = gates
    mine.enter(name)
    mine._event(mine._opened, name).wait(20)
    return {"success": True, "outputData": {"thread": threading.current_thread().name}}


GIFTS: dict[str, Any] = {
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
GIFTS["a circle"] = {"success": True, "outputData": _circle}
_deep: list[Any] = []
for _ in range(5_000):
    _deep = [_deep]
GIFTS["deep"] = {"success": True, "outputData": _deep}

PROBES = {
    "gate": handle_gate,
    "raise": handle_raise,
    "flaky": handle_flaky,
    "give": handle_give,
    "mutate": handle_mutate,
    "sync": handle_sync,
}

PROBE_TYPES = NodeTypes({**NODE_HANDLERS, **PROBES}, NODE_CONFIGS)
"""The service's node types and the probes."""
