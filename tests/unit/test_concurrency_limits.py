"""Limits of several services: their settings, and the heartbeat that ends executions in time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from config import Settings, SettingsError
from engine.errors import StorageError
from engine.limits import NodeLimits
from engine.options import NodeOptions
from flows.execution.signals import ExecutionSignals, StopReason
from flows.worker.heartbeat import renew_leases_forever
from setting_types import limits_of
from tests.support.virtual_time import run
from worker_setup import enabled_node_types, worker_settings

LEASE = 20.0


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]


def test_limits_are_read_by_name() -> None:
    assert limits_of(" http=10, llm = 4,,my.node-2=1 ") == {"http": 10, "llm": 4, "my.node-2": 1}
    assert limits_of("") == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("http", "a number from 1"),
        ("http=0", "a number from 1"),
        ("http=-1", "a number from 1"),
        ("http=1.5", "a number from 1"),
        ("http=2000000", "a number from 1"),
        ("http=1,http=2", "occurs twice"),
        ("=1", "another name"),
        ("a b=1", "another name"),
        ("{{ inputs.key }}=1", "another name"),
    ],
)
@pytest.mark.parametrize("kind", ["type", "key"])
def test_a_wrong_limit_is_an_error_that_names_it(value: str, reason: str, kind: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        settings(**{f"max_concurrent_nodes_per_{kind}": value})


def test_a_limit_of_an_unknown_type_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"'htpp' is not a node type; known are .*http"):
        enabled_node_types(settings(max_concurrent_nodes_per_type="htpp=1"))
    valid = settings(
        max_concurrent_nodes_per_type="http=3",
        max_concurrent_nodes_per_key="gpu=2",
        max_concurrent_executions_per_workflow=4,
    )
    enabled_node_types(valid)
    found = worker_settings(valid)
    assert found.node_limits == NodeLimits({"http": 3}, {"gpu": 2})
    assert found.execution_limits.per_workflow == 4
    assert found.execution_limits
    assert not worker_settings(settings()).execution_limits


@pytest.mark.parametrize(
    ("node_type", "key", "expected"),
    [
        ("llm", None, {}),
        ("http", None, {"type:http": 3}),
        ("llm", "gpu", {"key:gpu": 2}),
        ("http", "file", {"type:http": 3, "key:acme:file": 1}),
    ],
)
def test_the_limits_of_a_node_run(
    node_type: str, key: str | None, expected: dict[str, int]
) -> None:
    limits = NodeLimits({"http": 3}, {"gpu": 2})
    assert limits.capacities(node_type, key, "acme") == expected


def test_a_concurrency_key_is_a_short_literal_name() -> None:
    assert (
        NodeOptions.model_validate({"concurrencyKey": "gpu-1.a_B"}).concurrency_key == "gpu-1.a_B"
    )
    assert NodeOptions.model_validate({"concurrencyKey": " "}).concurrency_key is None
    for wrong in ("{{ inputs.key }}", "a b", "a\n", "k" * 101, "\0", 7):
        with pytest.raises(ValidationError):
            NodeOptions.model_validate({"concurrencyKey": wrong})


class Renewals:
    """A queue whose renewals fail, or hang, from the time ``until`` on."""

    def __init__(self, until: float, *, hangs: bool = False) -> None:
        self._until = until
        self._hangs = hangs
        self.last = 0.0

    async def renew(self, _owner: str, ids: list[str], _seconds: float) -> set[str]:
        """Renew, or fail."""
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            if self._hangs:
                await asyncio.Event().wait()
            raise StorageError("unreachable")
        self.last = now
        return set(ids)


def stop_times(
    queue: Renewals, active: dict[str, ExecutionSignals], **options: bool
) -> dict[str, float]:
    """Return when each execution stops within ten leases of virtual time."""
    times: dict[str, float] = {}

    async def main() -> None:
        database: Any = SimpleNamespace(queue=queue)
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(renew_leases_forever(database, "me", active, LEASE, **options))
        while loop.time() < 10 * LEASE:
            await asyncio.sleep(LEASE / 100)
            for name, signals in active.items():
                if signals.reason is not None:
                    assert signals.reason == StopReason.LEASE_LOST
                    times.setdefault(name, loop.time())
        task.cancel()

    run(main())
    return times


@pytest.mark.parametrize("hangs", [False, True])
def test_an_execution_with_a_permit_stops_before_its_lease_ends(hangs: bool) -> None:
    active = {"limited": ExecutionSignals(), "other": ExecutionSignals()}
    active["limited"].mark_limited()
    queue = Renewals(3 * LEASE, hangs=hangs)
    times = stop_times(queue, active)
    assert times.keys() == {"limited"}
    assert queue.last < times["limited"] < queue.last + LEASE


def test_every_execution_stops_in_time_if_a_limit_applies_to_all() -> None:
    active = {name: ExecutionSignals() for name in ("a", "b")}
    queue = Renewals(3 * LEASE)
    times = stop_times(queue, active, is_limited=True)
    assert times.keys() == {"a", "b"}
    assert max(times.values()) < queue.last + LEASE
