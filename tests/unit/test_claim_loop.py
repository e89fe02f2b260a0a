"""Claims, commits and dispatches in virtual time: when a worker claims and polls its pool."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from database.connection.commit_signal import Change
from engine.errors import StorageUnavailableError
from flows.execution.signals import ExecutionSignals
from flows.worker import dispatch_waits
from flows.worker.claim_loop import ClaimLoop
from flows.worker.commits import follow_commits
from flows.worker.dispatch_waits import DispatchWaits
from flows.worker.state import WorkerState
from tests.support.scripted_database import START, ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

BUSY = StorageUnavailableError("busy")


# Claims


class Claims:
    """A claim loop that records its claims."""

    def __init__(self, database: ScriptedDatabase, poll_seconds: float, **options: Any) -> None:
        self.times: list[float] = []
        self.errors: list[Exception] = []
        self.state = WorkerState()
        self.stopping = False
        self.loop = ClaimLoop(
            database.typed, self.state, self._claim, lambda: self.stopping, poll_seconds, **options
        )

    async def _claim(self, state: WorkerState) -> None:
        assert state is self.state
        self.times.append(round(asyncio.get_running_loop().time(), 3))
        if self.errors:
            raise self.errors.pop()


@in_virtual_time
async def test_without_notifications_a_worker_claims_at_every_interval_and_on_request() -> None:
    database = ScriptedDatabase()
    claims = Claims(database, 2)
    asyncio.get_running_loop().call_at(3, claims.state.claim_requested.set)
    await run_for(8, claims.loop.run())
    assert claims.times == [0, 2, 3, 5, 7]
    assert database.calls == []


@pytest.mark.parametrize(
    ("due", "times"),
    [
        (None, [0, 16, 32]),
        (START + timedelta(seconds=9), [0, 9, 10, 11]),
        (START + timedelta(seconds=900), [0, 16, 32]),
    ],
)
@in_virtual_time
async def test_with_notifications_a_worker_claims_at_the_next_due_time(
    due: Any, times: list[float]
) -> None:
    database = ScriptedDatabase(queue__next_due=[due])
    database.commit_signal.includes_other_processes = True
    claims = Claims(database, 2)
    claims.state.active["a"] = ExecutionSignals()
    await run_for(times[-1] + 0.5, claims.loop.run())
    assert claims.times == times
    assert database.times("queue.next_due")[0] == 1
    assert database.arguments["queue.next_due"][0] == (START, ["a"])


@in_virtual_time
async def test_a_busy_worker_does_not_read_the_next_due_time() -> None:
    database = ScriptedDatabase(queue__next_due=[BUSY])
    database.commit_signal.includes_other_processes = True
    claims = Claims(database, 0.2)
    for moment in range(1, 10):
        asyncio.get_running_loop().call_at(moment / 10, claims.state.claim_requested.set)
    await run_for(1, claims.loop.run())
    assert claims.times == [round(moment / 10, 1) for moment in range(10)]
    assert database.calls == []


@in_virtual_time
async def test_a_worker_polls_at_its_interval_if_it_uses_no_due_times_or_cannot_read_them() -> None:
    for options in ({"uses_due_times": False}, {}):
        database = ScriptedDatabase(queue__next_due=[BUSY])
        database.commit_signal.includes_other_processes = True
        claims, start = Claims(database, 2, **options), asyncio.get_running_loop().time()
        await run_for(4.5, claims.loop.run())
        intervals = [0, 2, 4] if options else [0, 1, 2, 3, 4]
        assert claims.times == [start + moment for moment in intervals]
        assert bool(database.calls) is not bool(options)


@in_virtual_time
async def test_a_worker_polls_at_its_interval_when_the_notifications_end() -> None:
    database = ScriptedDatabase()
    database.commit_signal.includes_other_processes = True
    claims = Claims(database, 2)
    end = lambda: setattr(database.commit_signal, "includes_other_processes", False)  # noqa: E731
    asyncio.get_running_loop().call_at(0.5, end)
    await run_for(4, claims.loop.run())
    assert claims.times == [0, 1, 3]
    assert database.calls == []


@in_virtual_time
async def test_a_worker_that_stops_ends_after_its_last_claim() -> None:
    claims = Claims(ScriptedDatabase(), 10)
    claims.errors = [BUSY, ValueError("broken")]
    task = asyncio.ensure_future(claims.loop.run())
    await asyncio.sleep(11)
    assert claims.times == [0, 10]
    assert not claims.state.claims_ended.is_set()
    claims.stopping = True
    claims.state.claim_requested.set()
    await task
    assert claims.times == [0, 10]
    assert claims.state.claims_ended.is_set()


# Commits


@pytest.mark.parametrize(
    ("change", "limited", "held_back", "claims"),
    [
        (Change.QUEUE, False, None, True),
        (Change.SLOTS, False, None, False),
        (Change.SLOTS, True, None, True),
        (Change.SLOTS, False, "queue", True),
        (Change.SLOTS, False, "dispatches", True),
        (Change.EVENTS, True, "queue", False),
        (Change.REQUESTS, True, "queue", False),
        (Change.PERMITS, True, "queue", False),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
@in_virtual_time
async def test_only_commits_that_may_allow_a_claim_request_one(
    change: Change, limited: bool, held_back: str | None, claims: bool, shared: bool
) -> None:
    database, state = ScriptedDatabase(), WorkerState()
    if held_back:
        getattr(database, held_back).holds_back = True
    loop = follow_commits(database.typed, state, is_shared=shared, is_limited=limited)
    asyncio.get_running_loop().call_at(1, database.commit_signal.send, {change})
    await run_for(2, loop)
    assert state.claim_requested.is_set() is claims
    assert not state.poll_requested.is_set()
    assert len(database.calls) == int(shared)
    if shared:
        [(listener,)] = database.arguments["follow_other_processes"]
        listener({Change.QUEUE, Change.SLOTS, Change.EVENTS})
        assert not state.poll_requested.is_set()
        listener({Change.REQUESTS})
        assert state.poll_requested.is_set()
    state.claim_requested.clear()
    database.commit_signal.send({Change.QUEUE})
    await asyncio.sleep(1)
    assert not state.claim_requested.is_set()


# Dispatches


@pytest.mark.parametrize(("notified", "seconds"), [(False, 0.2), (True, 2.0)])
@in_virtual_time
async def test_a_worker_polls_its_pool_at_an_interval(notified: bool, seconds: float) -> None:
    database = ScriptedDatabase()
    database.commit_signal.includes_other_processes = notified
    await DispatchWaits(database.typed).wait(1)
    assert asyncio.get_running_loop().time() == seconds


@pytest.mark.parametrize(("load", "delay"), [(0.0, 0.0075), (0.5, 0.015), (1.0, 0.0225)])
@in_virtual_time
async def test_a_worker_with_free_slots_polls_before_the_others(
    load: float, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_waits.random, "random", lambda: 0.5)
    waits = DispatchWaits(ScriptedDatabase().typed)
    waits.request()
    await waits.wait(load)
    assert asyncio.get_running_loop().time() == pytest.approx(delay)
    await waits.wait(load)
    assert asyncio.get_running_loop().time() == pytest.approx(delay + 0.2)
