"""Work that services share, in virtual time: permits of nodes, and callbacks."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from database.connection.commit_signal import Change
from database.executions.callbacks import AttemptFailure, CallbackAttempt
from engine.errors import (
    ExecutionNotFoundError,
    LeaseLostError,
    StorageUnavailableError,
)
from engine.limits import NodeLimits
from engine.options import NodeOptions
from flows.callbacks import dispatcher
from flows.callbacks.dispatcher import CallbackSettings, dispatch_callbacks_forever
from flows.nodes.permits import NodePermits, PermitWaits, Turn, grant_permits_forever
from tests.support.executor_runs import LEASE
from tests.support.scripted_database import ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

BUSY = StorageUnavailableError("busy")

# Permits


class Permits:
    """The permits of one execution with a limit of ``http`` nodes."""

    def __init__(self, **answers: Any) -> None:
        self.database = ScriptedDatabase(**answers)
        self.waits = PermitWaits()
        self.requested = 0
        self.stopping = False
        self.permits = NodePermits(
            self.database.typed,
            LEASE,
            "org",
            self.waits,
            NodeLimits({"http": 2}),
            self._count,
            lambda: self.stopping,
        )
        self.running: list[str] = []

    def _count(self) -> None:
        self.requested += 1

    async def hold(self, node_id: str, node_type: str = "http", seconds: float = 5) -> None:
        async with self.permits.hold(node_id, node_type, NodeOptions()):
            self.running.append(node_id)
            await asyncio.sleep(seconds)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.database.calls]


@in_virtual_time
async def test_a_node_without_a_limit_requests_nothing() -> None:
    permits = Permits()
    await permits.hold("a", "code")
    assert (permits.running, permits.requested, permits.names) == (["a"], 0, [])
    assert not permits.waits.changed.is_set()


@in_virtual_time
async def test_a_granted_permit_is_held_until_the_node_ends() -> None:
    permits = Permits(permits__request=[True])
    await permits.hold("a")
    assert permits.database.calls == [(0, "permits.request"), (5, "permits.release")]
    [(lease, request, node_id, capacities)] = permits.database.arguments["permits.request"]
    assert (lease, node_id, capacities) == (LEASE, "a", {"type:http": 2})
    assert permits.database.arguments["permits.release"] == [(request,)]
    assert permits.requested == 1
    assert not permits.waits.changed.is_set()


@in_virtual_time
async def test_a_node_waits_until_its_permit_is_granted() -> None:
    permits = Permits(permits__request=[False], permits__grant=[[], lambda ids: [*ids, "other"]])
    holding = asyncio.ensure_future(permits.hold("a"))
    loop = grant_permits_forever(permits.database.typed, permits.waits, 60, 2)
    asyncio.get_running_loop().call_at(
        1, permits.database.commit_signal.send, {Change.PERMITS, Change.EVENTS}
    )
    asyncio.get_running_loop().call_at(0.5, permits.database.commit_signal.send, {Change.QUEUE})
    await run_for(30, loop)
    await holding
    assert permits.running == ["a"]
    assert permits.database.times("permits.grant") == [0, 1]
    assert permits.database.times("permits.release") == [6]
    assert permits.database.times("permits.delete_orphaned") == [0]
    assert permits.waits.turns == {}


@pytest.mark.parametrize(("notified", "interval"), [(False, 2), (True, 15)])
@in_virtual_time
async def test_granted_permits_are_read_at_an_interval_while_a_node_waits(
    notified: bool, interval: int
) -> None:
    permits = Permits(permits__request=[False], permits__grant=[[]])
    permits.database.commit_signal.includes_other_processes = notified
    holding = asyncio.ensure_future(permits.hold("a"))
    await run_for(31, grant_permits_forever(permits.database.typed, permits.waits, 60, 2))
    times = permits.database.times("permits.grant")
    assert times == list(range(0, 31, interval))
    orphans = [0, 15, 30] if notified else [0, 6, 12, 18, 24, 30]
    assert permits.database.times("permits.delete_orphaned") == orphans
    assert permits.database.arguments["permits.delete_orphaned"][0] == (60,)
    holding.cancel()
    await asyncio.wait([holding])
    assert permits.names[-1] == "permits.release"
    assert permits.waits.turns == {}
    assert permits.running == []
    # After the loop, nothing reacts to a commit.
    permits.waits.changed.clear()
    loop = asyncio.get_running_loop()
    permits.waits.turns["x"] = Turn("e1", loop.time(), loop.create_future())
    permits.database.commit_signal.send({Change.PERMITS})
    await asyncio.sleep(1)
    assert not permits.waits.changed.is_set()


@in_virtual_time
async def test_without_a_waiting_node_permits_are_not_read() -> None:
    permits = Permits(permits__grant=[[]])
    loop = asyncio.get_running_loop()
    loop.call_at(1, permits.database.commit_signal.send, {Change.PERMITS})
    await run_for(100, grant_permits_forever(permits.database.typed, permits.waits, 60, 2))
    assert permits.database.times("permits.grant") == []
    # Another service may have parked node runs and died.
    assert permits.database.times("permits.wake") == [1, 61]
    assert permits.database.times("permits.delete_orphaned") == [1, 61]


@in_virtual_time
async def test_node_runs_that_a_dead_service_has_parked_are_polled() -> None:
    permits = Permits(permits__wake=[False, True, True, False])
    await run_for(130, grant_permits_forever(permits.database.typed, permits.waits, 60, 2))
    assert permits.database.times("permits.wake") == [2, 62, 64, 66, 126]


@in_virtual_time
async def test_after_an_error_granted_permits_are_read_again() -> None:
    permits = Permits(permits__request=[False], permits__grant=[BUSY, lambda ids: ids])
    holding = asyncio.ensure_future(permits.hold("a"))
    await run_for(20, grant_permits_forever(permits.database.typed, permits.waits, 60, 2))
    await holding
    # A pause, and then the interval.
    assert permits.database.times("permits.grant") == [0, 4]


@in_virtual_time
async def test_a_permit_is_returned_even_if_the_node_is_cancelled_twice() -> None:
    async def release(_: str) -> None:
        await asyncio.sleep(3)
        released.append(True)

    released: list[bool] = []
    permits = Permits(permits__request=[True], permits__release=[release])
    holding = asyncio.ensure_future(permits.hold("a"))
    for moment in (1, 2):
        asyncio.get_running_loop().call_at(moment, holding.cancel)
    await asyncio.wait([holding])
    assert asyncio.get_running_loop().time() == 2
    await asyncio.sleep(3)
    assert released == [True]


@pytest.mark.parametrize("stopping", [True, False])
@in_virtual_time
async def test_a_request_is_repeated_until_the_service_stops(stopping: bool) -> None:
    permits = Permits(permits__request=[BUSY, True], permits__release=[BUSY, None])
    permits.stopping = stopping
    if stopping:
        with pytest.raises(StorageUnavailableError):
            await permits.hold("a")
        assert permits.names == ["permits.request", "permits.release"]
    else:
        await permits.hold("a")
        assert permits.names == ["permits.request"] * 2 + ["permits.release"] * 2


# Callbacks


class Callbacks:
    """The callbacks of one service, whose requests take some time."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, due: Sequence[Any], seconds: float = 10
    ) -> None:
        attempt = CallbackAttempt("c", "e1", "w", "http://a/", 1, "W", "2027", body="{}")
        self.database = ScriptedDatabase(
            callbacks__due_by_host=list(due), callbacks__claim=[attempt], queries__execution=[None]
        )
        self.database.add("queries")
        self.seconds, self.result = seconds, cast("Any", 200)
        self.ended = asyncio.Event()
        self.metrics: list[str] = []
        self.spans: list[tuple[str | None, int | None]] = []
        span = SimpleNamespace(headers={}, end=lambda *end: self.spans.append(end))
        monkeypatch.setattr(dispatcher, "send", self._send)
        monkeypatch.setattr(dispatcher, "callback_span", lambda *_: span)
        monkeypatch.setattr(dispatcher.random, "uniform", lambda low, high: low)

    async def _send(self, url: str, *_: Any) -> Any:
        assert url == "http://a/"
        await asyncio.sleep(self.seconds)
        return self.result

    def run(self, poll_seconds: float = 100) -> Any:
        metrics = cast("Any", SimpleNamespace(callback_attempted=self.metrics.append))
        settings = CallbackSettings()
        return dispatch_callbacks_forever(
            self.database.typed, settings, self.ended, 60, poll_seconds, metrics
        )

    def claims(self) -> list[tuple[float, str]]:
        hosts = [arguments[1] for arguments in self.database.arguments["callbacks.claim"]]
        return list(zip(self.database.times("callbacks.claim"), hosts, strict=True))


@in_virtual_time
async def test_a_host_has_at_most_two_requests_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = Callbacks(monkeypatch, [{"a": 5, "b": 1}, {"a": 3}, {"a": 3}, {}])
    await run_for(15, callbacks.run())
    assert callbacks.claims() == [(0, "a"), (0, "a"), (0, "b"), (10, "a"), (10, "a")]
    assert callbacks.database.arguments["callbacks.claim"][0][2] == 70
    assert callbacks.metrics == ["delivered"] * 3
    assert callbacks.spans == [(None, 200)] * 3 + [("the service stopped", None)] * 2


@in_virtual_time
async def test_a_service_sends_at_most_16_requests_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = Callbacks(monkeypatch, [{f"h{n}": 2 for n in range(20)}, {}])
    callbacks.seconds = 40
    callbacks.ended.set()
    await run_for(35, callbacks.run(5))
    assert [host for _, host in callbacks.claims()] == [f"h{n // 2}" for n in range(16)]
    # While all requests are occupied, nothing is read.
    assert callbacks.database.times("callbacks.due_by_host") == [0]
    result = callbacks.database.arguments["callbacks.record_failure"]
    assert len(result) == 16
    assert {(failure.error, delay) for _, failure, delay in result} == {
        ("the service stopped before the response arrived", 0)
    }
    assert callbacks.spans == [("the service stopped", None)] * 16
    assert asyncio.get_running_loop().time() == 36  # The requests have a second to end.


@in_virtual_time
async def test_an_idle_service_reads_due_callbacks_at_an_interval_and_at_each_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = Callbacks(monkeypatch, [{}, BUSY, ValueError("broken"), {}])
    for moment in (1, 1.01, 2):
        asyncio.get_running_loop().call_at(moment, callbacks.ended.set)
    await run_for(15, callbacks.run(10))
    assert callbacks.database.times("callbacks.due_by_host") == [0, 1, 1.05, 2, 12.05]
    assert callbacks.claims() == []


@pytest.mark.parametrize(
    ("due", "metric"), [("2026-01-01T00:00:40.000Z", "failed"), (None, "abandoned")]
)
@in_virtual_time
async def test_a_failed_request_is_repeated_after_a_delay(
    monkeypatch: pytest.MonkeyPatch, due: str | None, metric: str
) -> None:
    callbacks = Callbacks(monkeypatch, [{"a": 1}, {}])
    callbacks.result = AttemptFailure("the receiver answered 503", 503, False, 30.0)
    callbacks.database.answers["callbacks.record_failure"] = [BUSY, due]
    await run_for(15, callbacks.run())
    recorded = callbacks.database.arguments["callbacks.record_failure"]
    assert [(failure, delay) for _, failure, delay in recorded] == [(callbacks.result, 30)] * 2
    assert callbacks.metrics == [metric]
    assert callbacks.spans == [("the receiver answered 503", 503)]


@pytest.mark.parametrize("error", [LeaseLostError("e1"), BUSY, ValueError("broken"), None])
@in_virtual_time
async def test_a_callback_that_cannot_be_claimed_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    callbacks = Callbacks(monkeypatch, [{"a": 1}, {}])
    callbacks.database.answers["callbacks.claim"] = [error]
    await run_for(5, callbacks.run())
    assert callbacks.spans == callbacks.metrics == []
    names = {name for _, name in callbacks.database.calls}
    assert names == {"callbacks.due_by_host", "callbacks.claim"}


@in_virtual_time
async def test_the_callback_of_a_deleted_execution_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = Callbacks(monkeypatch, [{"a": 1}, {}])
    callbacks.database.answers["queries.execution"] = [ExecutionNotFoundError("e1")]
    await run_for(5, callbacks.run())
    assert callbacks.database.times("callbacks.drop") == [0]
    assert callbacks.spans == callbacks.metrics == []
