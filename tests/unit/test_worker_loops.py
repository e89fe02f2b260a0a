"""Loops of a worker in virtual time: when they use the database, and that they do nothing else."""

import asyncio
from typing import Any

import pytest

from engine.errors import StorageUnavailableError
from flows.execution.signals import ExecutionSignals, StopReason
from flows.worker.heartbeat import renew_leases_forever
from flows.worker.maintenance import run_maintenance_forever
from flows.worker.poller import poll_signals_forever
from flows.worker.state import WorkerState
from flows.worker.task_timers import run_task_timers_forever
from tests.support.scripted_database import ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

BUSY = StorageUnavailableError("busy")


def executions(*ids: str) -> dict[str, ExecutionSignals]:
    return {execution_id: ExecutionSignals() for execution_id in ids}


def reasons(active: dict[str, ExecutionSignals]) -> dict[str, StopReason | None]:
    return {execution_id: signals.reason for execution_id, signals in active.items()}


# Leases


@in_virtual_time
async def test_leases_are_renewed_at_a_quarter_of_their_duration() -> None:
    database, active = ScriptedDatabase(queue__renew=[{"a", "b"}]), executions("a", "b")
    await run_for(39, renew_leases_forever(database.typed, "w", active, 40))
    assert database.calls == [(10, "queue.renew"), (20, "queue.renew"), (30, "queue.renew")]
    assert database.arguments["queue.renew"][0] == ("w", ["a", "b"], 40)
    assert reasons(active) == {"a": None, "b": None}


@in_virtual_time
async def test_a_worker_without_executions_renews_nothing() -> None:
    database = ScriptedDatabase()
    await run_for(100, renew_leases_forever(database.typed, "w", {}, 40, is_limited=True))
    assert database.calls == []


@in_virtual_time
async def test_only_the_execution_that_lost_its_lease_is_stopped() -> None:
    active = executions("a", "b")

    def renew(*_: Any) -> set[str]:
        active["late"] = ExecutionSignals()  # claimed while the others are renewed
        active.pop("b", None)
        return set()

    database = ScriptedDatabase(queue__renew=[renew])
    await run_for(11, renew_leases_forever(database.typed, "w", active, 40))
    assert reasons(active) == {"a": StopReason.LEASE_LOST, "late": None}


@in_virtual_time
async def test_an_execution_without_a_limit_continues_while_the_database_is_unavailable() -> None:
    database, active = ScriptedDatabase(queue__renew=[BUSY]), executions("a")
    await run_for(1000, renew_leases_forever(database.typed, "w", active, 40))
    assert reasons(active) == {"a": None}
    assert len(database.calls) == 99


@pytest.mark.parametrize("of_all", [True, False])
@pytest.mark.parametrize("hangs", [True, False])
@in_virtual_time
async def test_a_limited_execution_stops_when_three_quarters_of_its_lease_are_over(
    of_all: bool, hangs: bool
) -> None:
    async def hang() -> None:
        await asyncio.sleep(10_000)

    failure = (lambda *_: hang()) if hangs else BUSY
    database = ScriptedDatabase(queue__renew=[{"a", "b"}, failure])
    active, stopped = executions("a", "b"), dict[str, float]()
    new = executions("new") if of_all else {}  # claimed after the last renewal
    if not of_all:
        active["a"].mark_limited()
    for execution_id, signals in (*active.items(), *new.items()):
        stop = signals.stop

        def record(reason: StopReason, name: str = execution_id, stop: Any = stop) -> None:
            stopped.setdefault(name, asyncio.get_running_loop().time())
            stop(reason)

        signals.stop = record
    asyncio.get_running_loop().call_at(25, active.update, new)
    loop = renew_leases_forever(database.typed, "w", active, 40, is_limited=of_all)
    await run_for(100, loop)
    # Renewed at 10 s, and the lease of the new one began at 20 s. A hanging round takes 10 s.
    assert stopped == ({"a": 40, "b": 40, "new": 50} if of_all else {"a": 40})
    assert set(reasons(active | new).values()) == {
        StopReason.LEASE_LOST,
        *([] if of_all else [None]),
    }


@in_virtual_time
async def test_the_lease_of_a_new_execution_began_after_the_previous_round() -> None:
    active = executions("a")
    database = ScriptedDatabase(queue__renew=[{"a"}, {"a"}, BUSY])
    asyncio.get_running_loop().call_at(25, active.__setitem__, "b", ExecutionSignals())
    await run_for(49, renew_leases_forever(database.typed, "w", active, 40, is_limited=True))
    assert reasons(active) == {"a": None, "b": None}
    active = executions("a")
    database = ScriptedDatabase(queue__renew=[{"a"}, {"a"}, BUSY])
    start = asyncio.get_running_loop().time()
    asyncio.get_running_loop().call_at(start + 25, active.__setitem__, "b", ExecutionSignals())
    await run_for(51, renew_leases_forever(database.typed, "w", active, 40, is_limited=True))
    assert reasons(active) == {"a": StopReason.LEASE_LOST, "b": StopReason.LEASE_LOST}


# Signals


@in_virtual_time
async def test_signals_are_polled_at_an_interval_and_on_request() -> None:
    database = ScriptedDatabase(queue__cancellations=[["gone"], ["a", "gone"], []])
    state = WorkerState(active=executions("a", "b"))
    asyncio.get_running_loop().call_at(25, state.poll_requested.set)
    waits = [asyncio.ensure_future(s.wait_for_signal()) for s in state.active.values()]
    loop = poll_signals_forever(database.typed, state, 10, settles=False)
    await run_for(36, loop)
    assert database.times("queue.cancellations") == [10, 20, 25, 35]
    assert database.arguments["queue.cancellations"][0] == (state.owner,)
    assert {name for _, name in database.calls} == {"queue.cancellations"}
    assert reasons(state.active) == {"a": StopReason.CANCEL, "b": None}
    assert all(wait.done() for wait in waits)


@in_virtual_time
async def test_a_worker_without_executions_only_settles_those_that_other_programs_ended() -> None:
    database = ScriptedDatabase(queue__settle_foreign_ends=[0, 3])
    await run_for(31, poll_signals_forever(database.typed, WorkerState(), 10))
    assert database.calls == [(moment, "queue.settle_foreign_ends") for moment in (10, 20, 30)]
    database = ScriptedDatabase()
    await run_for(31, poll_signals_forever(database.typed, WorkerState(), 10, settles=False))
    assert database.calls == []


@in_virtual_time
async def test_requested_polls_do_not_repeat_the_search_for_foreign_ends() -> None:
    async def search() -> int:
        await asyncio.sleep(0.1)
        return 0

    database = ScriptedDatabase(queue__settle_foreign_ends=[search])
    state = WorkerState()
    for moment in range(1, 40):
        asyncio.get_running_loop().call_at(moment / 10, state.poll_requested.set)
    await run_for(4, poll_signals_forever(database.typed, state, 0.5))
    # A search of 0.1 s is repeated after 2 s at the earliest.
    assert database.times("queue.settle_foreign_ends") == [0.1, 2.1]


@in_virtual_time
async def test_after_an_error_the_poll_pauses_even_if_it_is_requested() -> None:
    database = ScriptedDatabase(queue__cancellations=[BUSY, []])
    state = WorkerState(active=executions("a"))
    for moment in (1, 2, 3):
        asyncio.get_running_loop().call_at(moment, state.poll_requested.set)
    waiting = asyncio.ensure_future(state.active["a"].wait_for_signal())
    asyncio.get_running_loop().call_at(10, lambda: done.append(waiting.done()))
    done: list[bool] = []
    await run_for(12, poll_signals_forever(database.typed, state, 10, settles=False))
    assert database.times("queue.cancellations") == [1, 11]
    assert done == [False]
    assert waiting.done()


# Maintenance


@in_virtual_time
async def test_maintenance_without_work_is_one_round_in_two_seconds() -> None:
    database = ScriptedDatabase()
    await run_for(4.2, run_maintenance_forever(database.typed, None, None))
    found = [name for _, name in database.calls]
    once = [
        "retention.vacuum",
        "retention.delete_expired_keys",
        "retention.delete_unused_payloads",
        "external_events.sweep",
        "child_executions.sweep",
    ]
    assert found == ["retention.created_by_service", *once, *once, *once]
    assert database.times("retention.vacuum") == [0, 2.05, 4.1]


@pytest.mark.parametrize(
    ("created", "days", "count", "limits"),
    [
        (True, None, None, (30.0, 10_000)),
        (False, None, None, None),
        (True, 5.0, None, (5.0, None)),
        (True, None, 7, (None, 7)),
    ],
)
@in_virtual_time
async def test_the_default_retention_applies_to_databases_that_the_service_created(
    created: bool, days: float | None, count: int | None, limits: Any
) -> None:
    database = ScriptedDatabase(retention__created_by_service=[BUSY, created])
    await run_for(4.2, run_maintenance_forever(database.typed, days, count))
    calls = database.arguments["retention.delete_expired"]
    assert set(calls) == ({limits} if limits else set())
    asked = len(database.arguments["retention.created_by_service"])
    assert asked == (2 if days is count is None else 0)


@in_virtual_time
async def test_executions_and_pages_are_deleted_in_batches_with_pauses() -> None:
    database = ScriptedDatabase(
        retention__delete_expired=[100, 40, 0], retention__vacuum=[True, False]
    )
    await run_for(1, run_maintenance_forever(database.typed, 1.0, None))
    assert database.times("retention.delete_expired") == [0, 0.05, 0.1]
    assert database.times("retention.vacuum") == [0.1, 0.15]


@pytest.mark.parametrize("error", [BUSY, ValueError("broken")])
@in_virtual_time
async def test_maintenance_continues_after_an_error(error: Exception) -> None:
    database = ScriptedDatabase(retention__vacuum=[error, False])
    await run_for(2.5, run_maintenance_forever(database.typed, 1.0, None))
    assert database.times("retention.vacuum") == [0, 2]
    assert database.times("child_executions.sweep") == [2.05]


# Task timers


@in_virtual_time
async def test_due_task_timers_are_run_until_none_is_left() -> None:
    database = ScriptedDatabase(task_timers__run_due=[2, 1, 0, BUSY, ValueError("broken"), 0])
    called: list[float] = []
    on_callback = lambda: called.append(asyncio.get_running_loop().time())  # noqa: E731
    await run_for(35, run_task_timers_forever(database.typed, 10, on_callback))
    assert database.times("task_timers.run_due") == [0, 0, 0, 10, 20, 30]
    assert called == [0, 0]


@in_virtual_time
async def test_a_short_poll_interval_does_not_apply_to_task_timers() -> None:
    database = ScriptedDatabase(task_timers__run_due=[0])
    await run_for(2.5, run_task_timers_forever(database.typed, 0.1, lambda: None))
    assert database.times("task_timers.run_due") == [0, 1, 2]
