"""Worker in virtual time: its claims, its signals and its stop, without a thread."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from flows.execution.running_nodes import NODE_CANCEL_TIMEOUT_SECONDS
from flows.execution.signals import ExecutionSignals, StopReason
from flows.worker import worker as module
from flows.worker.roles import WorkerRole
from flows.worker.worker import CLAIM_TIMEOUT_SECONDS, RELEASE_TIMEOUT_SECONDS
from tests.support.fake_worker import FakeExecutors, FakeRelay, FakeWorker, Patch, flags, now
from tests.support.scripted_database import run_for
from tests.support.virtual_time import in_virtual_time

# Signals


@in_virtual_time
async def test_a_signal_of_the_service_affects_its_execution_only(monkeypatch: Patch) -> None:
    one = FakeWorker(monkeypatch)
    first, second = one.run("a", 10), one.run("b", 10)
    resumed = asyncio.ensure_future(second.wait_for_signal())
    one.worker.wake()
    assert flags(one.state) == {"claim_requested"}
    one.state.claim_requested.clear()
    one.worker.poll()
    assert flags(one.state) == {"claim_requested", "poll_requested"}
    one.state.claim_requested.clear()
    one.state.poll_requested.clear()
    one.worker.notify_resumed("b")
    one.worker.notify_resumed("elsewhere")
    assert flags(one.state) == {"claim_requested", "relatives_changed"}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert resumed.done()
    assert (first.reason, second.reason) == (None, None)
    one.worker.cancel("elsewhere")
    assert (first.reason, second.reason) == (None, None)
    one.worker.cancel("a")
    assert (first.reason, second.reason) == (StopReason.CANCEL, None)
    assert len(flags(one.state)) == 4


# Claims


@pytest.mark.parametrize(("active", "free"), [(0, 3), (1, 2), (3, 0), (5, 0)])
@in_virtual_time
async def test_executions_are_claimed_for_the_free_slots(
    active: int, free: int, monkeypatch: Patch
) -> None:
    one = FakeWorker(monkeypatch, queue__claim=[["x", "y"]])
    for number in range(active):
        one.state.active[str(number)] = ExecutionSignals()
    await one.worker._claim_available(one.state)
    ids, isolate = list(one.state.active), one.settings.max_recovery_attempts - 1
    arguments = (one.state.owner, free, one.settings.lease_seconds, ids, isolate)
    assert one.database.arguments["queue.claim"] == [arguments]
    assert one.started == ["x", "y"]


@in_virtual_time
async def test_a_service_with_execution_processes_claims_nothing_itself(monkeypatch: Patch) -> None:
    executors = FakeExecutors()
    one = FakeWorker(monkeypatch, WorkerRole(executors=executors))
    await one.worker._claim_available(one.state)
    assert executors.claims == 1
    assert one.database.calls == []


# Stop


@in_virtual_time
async def test_a_worker_that_stops_lets_its_executions_end(monkeypatch: Patch) -> None:
    one = FakeWorker(monkeypatch)
    one.state.claims_ended.set()
    signals = [one.run("a", 1), one.run("b", 3)]
    assert one.worker.accepts_work
    await one.stop()
    assert now() == 3
    assert not one.worker.accepts_work
    assert all(one_.draining for one_ in signals)
    assert not one.thread.restarts
    assert one.state.claim_requested.is_set()
    assert one.state.drained.is_set()
    assert len(one.thread.joins) == 1


@in_virtual_time
async def test_executions_that_run_for_longer_than_the_grace_are_released(
    monkeypatch: Patch,
) -> None:
    one = FakeWorker(monkeypatch)
    one.state.claims_ended.set()
    signals = one.run("a", 100)
    asyncio.get_running_loop().call_at(4.9, lambda: reasons.append(signals.reason))
    reasons: list[StopReason | None] = []
    await one.stop()
    assert now() == 5
    assert reasons == [None]
    assert signals.reason == StopReason.SHUTDOWN


@in_virtual_time
async def test_handlers_that_do_not_stop_are_abandoned(monkeypatch: Patch) -> None:
    one = FakeWorker(monkeypatch)
    one.state.claims_ended.set()
    one.block(1000)
    one.thread.ends_in_time = False
    with capture_logs() as logs:
        await one.stop()
    assert now() == 5 + NODE_CANCEL_TIMEOUT_SECONDS + RELEASE_TIMEOUT_SECONDS
    assert one.state.drained.is_set()
    assert "handlers_abandoned" in {event["event"] for event in logs}


@pytest.mark.parametrize("claim_seconds", [2, 100])
@in_virtual_time
async def test_the_executions_of_the_last_claim_are_released_too(
    claim_seconds: float, monkeypatch: Patch
) -> None:
    one = FakeWorker(monkeypatch)

    async def claim() -> None:
        await asyncio.sleep(claim_seconds)
        one.run("claimed last", 3)
        one.state.claims_ended.set()

    claiming = asyncio.ensure_future(claim())
    await one.stop()
    ended = claim_seconds + 3 if claim_seconds < CLAIM_TIMEOUT_SECONDS else CLAIM_TIMEOUT_SECONDS
    assert now() == ended
    claiming.cancel()


@in_virtual_time
async def test_a_stop_waits_for_submitted_work_and_for_execution_processes(
    monkeypatch: Patch,
) -> None:
    executors = FakeExecutors()
    one = FakeWorker(monkeypatch, WorkerRole(executors=executors))
    one.state.claims_ended.set()
    await one.stop(7)
    assert (now(), executors.stopped) == (1, [7])
    one = FakeWorker(monkeypatch)
    one.state.claims_ended.set()
    one.thread.submitted.add(asyncio.ensure_future(asyncio.sleep(2)))
    with capture_logs() as logs:
        await one.stop()
    assert now() == 3
    assert [event["event"] for event in logs] == ["shutdown_draining"]


@in_virtual_time
async def test_the_polling_of_a_pool_ends_before_the_executions(monkeypatch: Patch) -> None:
    one = FakeWorker(monkeypatch)
    one.state.claims_ended.set()
    one.run("a", 3)
    polling = one.state.pool_polling = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[assignment]
    cancelled_at: list[float] = []
    polling.add_done_callback(lambda _: cancelled_at.append(now()))
    await one.stop()
    assert cancelled_at == [0]


@in_virtual_time
async def test_a_worker_whose_thread_has_ended_only_waits_for_it(monkeypatch: Patch) -> None:
    one = FakeWorker(monkeypatch)
    one.thread.accepts_work = False
    with capture_logs() as logs:
        await one.stop()
    assert logs == []
    assert len(one.thread.joins) == 1
    assert not one.state.drained.is_set()


# The event loop


@in_virtual_time
async def test_all_loops_run_until_the_worker_has_drained(monkeypatch: Patch) -> None:
    relay = FakeRelay()
    one = FakeWorker(
        monkeypatch,
        WorkerRole(relay=relay),
        queue__claim=[[]],
        queue__renew=[{"a"}],
        queue__cancellations=[[]],
    )
    others = asyncio.all_tasks()
    running = asyncio.ensure_future(one.worker._main())
    await asyncio.sleep(30)
    state = one.worker._state
    assert state is not one.state
    assert relay.states == [state]
    assert one.thread.is_ready
    assert one.database.times("queue.claim")[:3] == [0, 2, 4]
    state.active["a"] = ExecutionSignals()
    await asyncio.sleep(one.settings.lease_seconds)
    assert one.database.times("queue.renew")
    assert one.database.times("queue.cancellations")
    assert one.database.times("permits.wake")
    # The service of this process settles the ends of other programs.
    assert not one.database.times("queue.settle_foreign_ends")
    assert one.closed == 0
    state.active.clear()
    await one.worker.stop(0)
    await running
    assert one.closed == 1
    assert asyncio.all_tasks() == others


@pytest.mark.parametrize("pool", [None, "pool"])
@in_virtual_time
async def test_only_a_worker_that_claims_itself_waits_for_due_times(
    pool: str | None, monkeypatch: Patch
) -> None:
    one = FakeWorker(monkeypatch, WorkerRole(relay=FakeRelay()), queue__claim=[[]])
    one.worker._settings = replace(one.settings, prefect_work_pool=pool)
    one.database.commit_signal.includes_other_processes = True
    dispatched: list[float] = []

    async def dispatch(_: object) -> None:
        dispatched.append(now())

    monkeypatch.setattr(module, "Dispatcher", lambda *_: SimpleNamespace(dispatch_due=dispatch))
    await run_for(5, one.worker._main())
    # The dispatcher also repeats requests to Prefect's server.
    assert dispatched == ([] if pool is None else [0, 2, 4])
    assert one.database.times("queue.next_due") == ([1] if pool is None else [])


@in_virtual_time
async def test_the_results_of_flows_need_no_server(monkeypatch: Patch) -> None:
    stored: list[Any] = []
    monkeypatch.setattr(module, "local_result_storage", lambda *args: stored.append(args))
    one = FakeWorker(monkeypatch, WorkerRole(relay=FakeRelay()), queue__claim=[[]])
    await run_for(1, one.worker._main())
    home = one.settings.prefect_home
    assert stored == [(module.workflow_flow, home), (module.node_preview_flow, home)]


@in_virtual_time
async def test_a_loop_that_fails_ends_all_loops_and_closes_the_database(monkeypatch: Patch) -> None:
    relay = FakeRelay()
    relay.error = ValueError("a defect")
    one = FakeWorker(monkeypatch, WorkerRole(relay=relay), queue__claim=[[]])
    others = asyncio.all_tasks()
    with pytest.raises(ExceptionGroup):
        await one.worker._main()
    assert one.closed == 1
    assert asyncio.all_tasks() == others


@in_virtual_time
async def test_a_worker_of_a_pool_polls_it_with_its_own_state(monkeypatch: Patch) -> None:
    polled: list[Any] = []

    async def poll(runs: Any) -> None:
        polled.append(runs)
        await asyncio.Event().wait()

    role = WorkerRole(poll_pool=poll, relay=FakeRelay())
    one = FakeWorker(monkeypatch, role, queue__claim=[[]])
    running = asyncio.ensure_future(one.worker._main())
    await asyncio.sleep(1)
    (runs,) = polled
    state = one.worker._state
    assert runs._state is state
    assert state.pool_polling is not None
    await one.worker.stop(0)
    await running
    assert state.pool_polling.cancelled()


@pytest.mark.parametrize("executors", [None, FakeExecutors()])
@in_virtual_time
async def test_a_service_also_runs_callbacks_timers_schedules_and_maintenance(
    executors: FakeExecutors | None, monkeypatch: Patch
) -> None:
    started: list[str] = []

    def loop(name: str) -> Callable[..., Coroutine[Any, Any, None]]:
        async def forever(*_: Any) -> None:
            started.append(name)
            await asyncio.Event().wait()

        return forever

    names = ("run_maintenance_forever", "dispatch_callbacks_forever", "run_task_timers_forever")
    for name in names:
        monkeypatch.setattr(module, name, loop(name))
    monkeypatch.setattr(
        module, "Scheduler", lambda *_: SimpleNamespace(run_forever=loop("schedules"))
    )
    one = FakeWorker(monkeypatch, WorkerRole(executors=executors), queue__claim=[[]])
    await run_for(10, one.worker._main())
    assert sorted(started) == sorted([*names, "schedules"])
    assert one.database.times("queue.settle_foreign_ends")
    assert (executors is None) is bool(one.database.times("queue.claim"))
