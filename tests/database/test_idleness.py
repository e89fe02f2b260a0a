"""Idleness: without work, a service reads a few rows at each interval and writes nothing.

The loops run in virtual time, so that an hour takes as long as its queries.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config import Settings
from database import Database
from database.connection.writer import Write
from database.schedules.records import PendingLimits
from flows.callbacks.dispatcher import CallbackSettings, dispatch_callbacks_forever
from flows.execution.signals import ExecutionSignals
from flows.intake.bulk import SEARCHES_PER_LEASE, BulkService
from flows.intake.reruns import RerunService
from flows.worker.claim_loop import IDLE_POLL_INTERVAL_SECONDS, ClaimLoop
from flows.worker.heartbeat import renew_leases_forever
from flows.worker.maintenance import MAINTENANCE_INTERVAL_SECONDS, run_maintenance_forever
from flows.worker.poller import poll_signals_forever
from flows.worker.state import WorkerState
from flows.worker.task_timers import run_task_timers_forever
from flows.worker.worker import Worker
from tests.database.conftest import EXAMPLES
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.schedules import save, scheduled, scheduler_of
from tests.support.statements import Statement, recorded_statements
from tests.support.two_workers import DatabaseWorker
from tests.support.virtual_time import VirtualTimeLoop, run
from worker_setup import worker_settings

POLL_SECONDS, LEASE_SECONDS = 1.0, 20.0
INTERVALS = 30
Loop = Callable[[Database], Awaitable[object]]


def claims(database: Database) -> Awaitable[object]:
    settings = Settings(_env_file=None, poll_interval_seconds=POLL_SECONDS)  # pyright: ignore[reportCallIssue]
    worker = Worker(worker_settings(settings), PROBE_TYPES, database)
    return ClaimLoop(
        database, worker._state, worker._claim_available, lambda: False, POLL_SECONDS
    ).run()


def claims_after_signals(database: Database) -> Awaitable[object]:
    database.commit_signal.includes_other_processes = True
    return claims(database)


def signals(database: Database) -> Awaitable[object]:
    return poll_signals_forever(database, WorkerState("me"), POLL_SECONDS)


def callbacks(database: Database) -> Awaitable[object]:
    return dispatch_callbacks_forever(
        database, CallbackSettings(), asyncio.Event(), LEASE_SECONDS, POLL_SECONDS
    )


def maintenance(database: Database) -> Awaitable[object]:
    return run_maintenance_forever(database, 30.0, 10_000)


def task_timers(database: Database) -> Awaitable[object]:
    return run_task_timers_forever(database, POLL_SECONDS, lambda: None)


def bulk_operations(database: Database) -> Awaitable[object]:
    submissions = SimpleNamespace(database=database, worker=SimpleNamespace(wake=lambda: None))
    reruns = cast("RerunService", SimpleNamespace(submissions=submissions))
    limits = PendingLimits(10, 10)
    return BulkService(reruns, limits, POLL_SECONDS, LEASE_SECONDS).run_forever()


def schedules(database: Database) -> Awaitable[object]:
    scheduler = scheduler_of(database)
    scheduler._is_searched = True  # by ``find_schedules``; only a start searches without a change
    return scheduler.run_forever()


def signals_of_a_running_execution(database: Database) -> Awaitable[object]:
    active = {"e": ExecutionSignals()}
    return poll_signals_forever(database, WorkerState("me", active), POLL_SECONDS)


LOOPS: dict[str, tuple[Loop, int]] = {
    "claims": (claims, 1),
    "signals": (signals, 1),
    "callbacks": (callbacks, 1),
    "maintenance": (maintenance, 10),  # 9 after the first search for expired executions
    "task timers": (task_timers, 1),
    "bulk operations": (bulk_operations, 2),
    "schedules": (schedules, 2),
    "signals of a running execution": (signals_of_a_running_execution, 2),
}
"""Loop -> maximum number of queries in an interval."""

LONGER_INTERVALS = {
    "maintenance": MAINTENANCE_INTERVAL_SECONDS,
    "bulk operations": LEASE_SECONDS / SEARCHES_PER_LEASE,
}
"""Intervals of the loops that do not poll at each ``POLL_SECONDS``, in seconds."""


async def find_schedules(database: Database) -> None:
    """Store the schedules, as the scheduler does at its start."""
    await save(database, "s", scheduled(scheduleCron="0 0 1 1 *"))
    scheduler = scheduler_of(database)
    for _ in range(2):
        await scheduler.search()


PREPARATIONS = {"schedules": find_schedules}


def statements_of(
    directory: Path, loop: Loop, seconds: float, prepare: Callable[[Database], Any] | None = None
) -> list[Statement]:
    """Return the statements of a loop within a virtual time."""
    path = directory / "db.sqlite"
    copy_prepared_sqlite(path, EXAMPLES)

    async def main() -> list[Statement]:
        virtual = asyncio.get_running_loop()
        assert isinstance(virtual, VirtualTimeLoop)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        database = Database(
            f"sqlite+aiosqlite:///{path}", lambda: start + timedelta(seconds=virtual.now)
        )
        if prepare is not None:
            await prepare(database)
        over = asyncio.Event()

        def end_if_over(statement: Statement) -> None:
            if statement.at >= begun + seconds:
                virtual.call_soon_threadsafe(over.set)

        begun = virtual.now
        with recorded_statements(virtual.time, end_if_over) as found:
            task = asyncio.ensure_future(loop(database))
            # Not a timer, because virtual time would jump to it while a thread reads.
            await asyncio.wait(
                [task, asyncio.ensure_future(over.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            task.cancel()
            await asyncio.wait([task])
        await database.close()
        return [statement for statement in found if statement.at < begun + seconds]

    return run(main())


@pytest.mark.parametrize("name", LOOPS)
def test_an_idle_loop_reads_a_few_times_at_each_interval(tmp_path: Path, name: str) -> None:
    loop, most = LOOPS[name]
    prepare = PREPARATIONS.get(name)
    statements = statements_of(tmp_path, loop, INTERVALS * POLL_SECONDS, prepare)
    queries = [statement for statement in statements if not statement.sql.startswith("BEGIN")]
    assert [statement.sql for statement in statements if statement.writes] == []
    by_interval = Counter(int(statement.at / POLL_SECONDS) for statement in queries)
    assert max(by_interval.values()) <= most
    interval = LONGER_INTERVALS.get(name, POLL_SECONDS)
    # One round more than intervals, because the first round is at the start.
    assert 0 < len(queries) <= most * (INTERVALS * POLL_SECONDS // interval + 1)


def test_a_worker_that_other_processes_notify_polls_rarely(tmp_path: Path) -> None:
    rounds = 20
    statements = statements_of(tmp_path, claims_after_signals, rounds * IDLE_POLL_INTERVAL_SECONDS)
    queries = [statement for statement in statements if not statement.sql.startswith("BEGIN")]
    assert 0 < len(queries) <= 2 * rounds  # a search for work, and one for the next due time


async def _claim_one(database: Database) -> None:
    await DatabaseWorker("me", database).start("e")


def test_a_waiting_node_costs_one_write_for_each_heartbeat(tmp_path: Path) -> None:
    active = {"e": ExecutionSignals()}

    def heartbeat(database: Database) -> Awaitable[object]:
        return renew_leases_forever(database, "me", active, LEASE_SECONDS)

    statements = statements_of(tmp_path, heartbeat, 3_600, _claim_one)
    changes = [s for s in statements if s.writes and not s.sql.startswith("BEGIN")]
    assert len(changes) == 3_600 / (LEASE_SECONDS / 4) - 1
    assert active["e"].reason is None


def test_a_worker_without_executions_renews_nothing(tmp_path: Path) -> None:
    copy_prepared_sqlite(tmp_path / "db.sqlite", EXAMPLES)
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}")
    renewals: list[object] = []

    async def renew(*arguments: object) -> set[str]:
        renewals.append(arguments)
        return set()

    database.queue.renew = renew  # type: ignore[method-assign]

    async def wait_an_hour() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3_600):
                await renew_leases_forever(database, "me", {}, LEASE_SECONDS)
        await database.close()

    run(wait_an_hour())
    assert renewals == []


def test_an_idle_process_takes_no_write_lock(tmp_path: Path) -> None:
    """Another process may hold the lock: maintenance neither waits for it nor fails."""
    taken: list[Write[Any]] = []

    async def refuse(_database: Database) -> None:
        async def reject(change: Write[Any]) -> None:
            taken.append(change)

        _database.retention._writer.run = reject  # type: ignore[method-assign]
        _database.child_executions._writer.run = reject  # type: ignore[method-assign]

    statements = statements_of(tmp_path, maintenance, 10, refuse)
    assert statements
    assert taken == []
