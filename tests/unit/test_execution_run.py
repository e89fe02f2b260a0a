"""Execution run in virtual time: how a claimed execution starts, ends and returns to the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.contextvars import clear_contextvars, get_contextvars

from config import Settings
from database.executions.journal_records import ExecutionResult
from database.executions.origins import ExecutionOrigin
from database.executions.queue import ClaimedExecution
from engine.errors import LeaseLostError, StorageUnavailableError
from engine.status import ExecutionStatus
from flows.execution.signals import ExecutionSignals, StopReason
from flows.nodes.progress import publish_nowhere
from flows.worker import execution_run, execution_starter
from flows.worker.execution_run import ExecutionRun
from flows.worker.execution_starter import ExecutionStarter
from flows.worker.state import WorkerState
from flows.workflow_flow import ExecutionContext
from metrics import Metrics
from tests.support.executor_runs import LEASE
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.scripted_database import ScriptedDatabase
from tests.support.virtual_time import in_virtual_time
from tracing import ExecutionTrace, RunEnd
from worker_setup import worker_settings

BUSY = StorageUnavailableError("busy")
COMPLETED = ExecutionResult(ExecutionStatus.COMPLETED)
FAILED = ExecutionResult(ExecutionStatus.FAILED, error="broken")

Patch = pytest.MonkeyPatch


def claimed(recoveries: int = 0, **values: Any) -> ClaimedExecution:
    fields = {"last_flow_run_id": None, "origin": ExecutionOrigin("w")} | values
    return ClaimedExecution(LEASE, "Name", recoveries, **fields)


class Trace(ExecutionTrace):
    """Records the ends of a run."""

    __slots__ = ("ends", "runs")

    def __init__(self) -> None:
        self.ends: list[RunEnd] = []
        self.runs: list[str] = []

    def run_started(self, flow_run_id: str) -> None:
        self.runs.append(flow_run_id)

    def end(self, end: RunEnd) -> None:
        self.ends.append(end)


class Run:
    """One run whose flow has an outcome after some seconds, or raises an exception."""

    def __init__(
        self,
        monkeypatch: Patch,
        outcome: Any = COMPLETED,
        execution: ClaimedExecution | None = None,
        *,
        tracked: bool = False,
        seconds: float = 0,
        timeout: float | None = None,
        **answers: list[Any],
    ) -> None:
        self.database = ScriptedDatabase(**answers)
        self.database.add("journal")
        self.outcome, self.seconds = outcome, seconds
        self.trace, self.metrics = Trace(), Metrics()
        self.names: list[str] = []
        self.crashed: list[str] = []
        self.log_fields: dict[str, Any] = {}
        self.stopping = False
        self.stops: list[tuple[float, StopReason | None]] = []
        context = SimpleNamespace(
            lease=LEASE,
            node_runner=SimpleNamespace(trace=self.trace),
            signals=ExecutionSignals(),
            database=self.database,
            outcome=None,
            end_error=None,
        )
        self.context = cast("ExecutionContext", context)
        monkeypatch.setattr(execution_run, "is_tracked", lambda: tracked)
        monkeypatch.setattr(execution_run, "crash_flow_run", self._crash)
        self._run = ExecutionRun(
            execution or claimed(),
            self.context,
            3,
            timeout,
            lambda: self.stopping,
            self.metrics,
            self._flow,
        )

    async def _crash(self, flow_run_id: str) -> None:
        self.crashed.append(flow_run_id)

    async def _flow(
        self, context: ExecutionContext, name: str, on_created: Callable[[str], Awaitable[None]]
    ) -> None:
        assert context is self.context
        self.names.append(name)
        self.log_fields = get_contextvars()
        await on_created("flow-run")
        stopped = asyncio.ensure_future(context.signals.wait_for_signal())
        await asyncio.wait([stopped], timeout=self.seconds)
        if stopped.done():
            self.stops.append((asyncio.get_running_loop().time(), context.signals.reason))
        stopped.cancel()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        context.outcome = self.outcome

    async def run(self) -> "Run":
        await self._run.run()
        clear_contextvars()
        return self

    @property
    def releases(self) -> list[tuple[Any, ...]]:
        return self.database.arguments["queue.release"]

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"workflow_{name}_total", labels) or 0


@pytest.mark.parametrize(
    ("outcome", "delay"),
    [
        (COMPLETED, None),
        (FAILED, None),
        (StopReason.PARKED, None),
        (StopReason.LEASE_LOST, None),
        (StopReason.SHUTDOWN, 0.0),
        (StopReason.CANCEL, 5.0),
        (StopReason.UNRECORDED, 60.0),
        (ValueError("a defect of Prefect"), 5.0),
    ],
)
@in_virtual_time
async def test_an_execution_that_did_not_end_returns_to_the_queue(
    outcome: Any, delay: float | None, monkeypatch: Patch
) -> None:
    run = await Run(monkeypatch, outcome).run()
    assert run.names == ["Name e1"]
    assert run.log_fields == {"execution_id": "e1"}
    assert run.releases == ([] if delay is None else [(LEASE, delay, None)])
    assert run.count("executions_ended", status="completed") == (outcome == COMPLETED)
    assert run.count("executions_ended", status="failed") == (outcome == FAILED)
    assert run.count("lost_leases") == (outcome == StopReason.LEASE_LOST)
    assert run.count("execution_recoveries") == 0
    assert len(run.trace.ends) == 1


@in_virtual_time
async def test_the_reason_of_an_end_that_was_not_stored_is_kept(monkeypatch: Patch) -> None:
    run = Run(monkeypatch, StopReason.UNRECORDED)
    run.context.end_error = "rejected"
    await run.run()
    assert run.releases == [(LEASE, 60.0, "rejected")]
    again = Run(monkeypatch, execution=claimed(end_error="rejected"))
    await again.run()
    assert again.names == []
    assert again.database.arguments["journal.abandon"] == [(LEASE, "rejected")]
    assert again.count("executions_ended", status="failed") == 1


@pytest.mark.parametrize(("recoveries", "starts"), [(0, True), (2, True), (3, False), (4, False)])
@in_virtual_time
async def test_an_execution_that_crashed_its_owners_too_often_fails(
    recoveries: int, starts: bool, monkeypatch: Patch
) -> None:
    run = await Run(monkeypatch, execution=claimed(recoveries)).run()
    assert bool(run.names) is starts
    assert run.count("execution_recoveries") == bool(recoveries)
    reasons = [reason for _, reason in run.database.arguments["journal.abandon"]]
    assert len(reasons) == (not starts)
    assert all(f"{recoveries} times" in reason for reason in reasons)
    assert run.count("executions_ended", status="failed") == (not starts)


@pytest.mark.parametrize(
    ("recoveries", "last", "crashed"),
    [(0, "old", []), (1, None, []), (1, "old", ["old"])],
)
@in_virtual_time
async def test_only_the_flow_run_of_a_crashed_owner_is_crashed(
    recoveries: int, last: str | None, crashed: list[str], monkeypatch: Patch
) -> None:
    execution = claimed(recoveries, last_flow_run_id=last)
    run = await Run(monkeypatch, execution=execution).run()
    assert run.crashed == crashed


@pytest.mark.parametrize("tracked", [True, False])
@in_virtual_time
async def test_the_flow_run_is_stored_at_once_if_a_server_knows_it(
    tracked: bool, monkeypatch: Patch
) -> None:
    run = await Run(monkeypatch, tracked=tracked).run()
    linked = run.database.arguments["queue.link_flow_run"]
    assert linked == ([(LEASE, "flow-run")] if tracked else [])
    assert run.context.lease.flow_run_id == (None if tracked else "flow-run")
    assert run.trace.runs == ["flow-run"]


@pytest.mark.parametrize(("seconds", "stopped"), [(None, []), (10, [10]), (100, [])])
@in_virtual_time
async def test_an_execution_stops_at_its_timeout(
    seconds: float | None, stopped: list[float], monkeypatch: Patch
) -> None:
    run = await Run(monkeypatch, seconds=50, timeout=seconds).run()
    assert run.stops == [(time, StopReason.TIMEOUT) for time in stopped]
    await asyncio.sleep(100)
    assert run.context.signals.reason == (StopReason.TIMEOUT if stopped else None)


@pytest.mark.parametrize("error", [BUSY, LeaseLostError("lost")])
@in_virtual_time
async def test_a_release_is_repeated_until_the_service_stops_or_the_lease_is_lost(
    error: Exception, monkeypatch: Patch
) -> None:
    run = Run(monkeypatch, StopReason.SHUTDOWN, queue__release=[error])
    asyncio.get_running_loop().call_at(30, setattr, run, "stopping", True)
    await run.run()
    assert (len(run.releases) > 5) is (error is BUSY)
    assert len(run.trace.ends) == 1
    run = await Run(monkeypatch, StopReason.SHUTDOWN, queue__release=[BUSY, None]).run()
    assert len(run.releases) == 2


# The starter


class Starter:
    """A starter whose executions have an outcome at once."""

    def __init__(self, monkeypatch: Patch, outcome: Any, parent_id: str | None = None) -> None:
        self.stopping = False
        self.runs: list[Any] = []
        self.state = WorkerState()
        starter = self

        class OneRun:
            def __init__(self, _: ClaimedExecution, context: ExecutionContext, *more: Any) -> None:
                self.context = context
                starter.runs.append((context, more))

            async def run(self) -> None:
                self.context.parent_id = parent_id
                if isinstance(outcome, Exception):
                    raise outcome
                self.context.outcome = outcome

        monkeypatch.setattr(execution_starter, "ExecutionRun", OneRun)
        settings = worker_settings(Settings(_env_file=None))  # pyright: ignore[reportCallIssue]
        self.starter = ExecutionStarter(
            settings,
            PROBE_TYPES,
            ScriptedDatabase().typed,
            publish_nowhere,
            Metrics(),
            lambda: self.stopping,
        )

    def start(self, **values: Any) -> asyncio.Task[None]:
        return self.starter.start(claimed(**values), self.state)


async def test_an_execution_in_a_process_of_its_own_does_not_stop(monkeypatch: Patch) -> None:
    starter = Starter(monkeypatch, COMPLETED)
    own = ExecutionStarter(starter.starter.settings, PROBE_TYPES, ScriptedDatabase().typed)
    task = own.start(claimed(), starter.state)
    assert not starter.state.active["e1"].draining
    await task


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("stopping", [True, False])
async def test_a_started_execution_knows_its_limits_and_whether_the_service_stops(
    limited: bool, stopping: bool, monkeypatch: Patch
) -> None:
    starter = Starter(monkeypatch, COMPLETED)
    starter.stopping = stopping
    task = starter.start(is_limited=limited)
    signals = starter.state.active["e1"]
    assert (signals.uses_limit, signals.draining) == (limited, stopping)
    assert starter.state.tasks == {task}
    await task
    [(context, _)] = starter.runs
    assert context.signals is signals
    assert context.deferral_turn is starter.state.deferral_turn
    assert starter.state.active == {}
    await asyncio.sleep(0)
    assert starter.state.tasks == set()


async def test_permits_are_given_up_when_the_execution_or_the_service_stops(
    monkeypatch: Patch,
) -> None:
    starter = Starter(monkeypatch, COMPLETED)
    await starter.start()
    [(context, _)] = starter.runs
    permits = context.node_runner.permits
    assert not permits.is_stopping()
    starter.stopping = True
    assert permits.is_stopping()
    starter.stopping = False
    context.signals.stop(StopReason.CANCEL)
    assert permits.is_stopping()
    permits.on_request()
    assert context.signals.uses_limit


@pytest.mark.parametrize(
    ("outcome", "parent", "polls", "relatives", "resumes"),
    [
        (COMPLETED, None, False, False, False),
        (COMPLETED, "here", False, False, True),
        (COMPLETED, "elsewhere", False, True, False),
        (FAILED, None, True, True, False),
        (FAILED, "here", True, True, True),
        (StopReason.PARKED, None, False, False, False),
    ],
)
async def test_the_end_of_an_execution_notifies_its_relatives(
    outcome: Any,
    parent: str | None,
    polls: bool,
    relatives: bool,
    resumes: bool,
    monkeypatch: Patch,
) -> None:
    starter = Starter(monkeypatch, outcome, parent)
    state = starter.state
    signals = state.active["here"] = ExecutionSignals()
    resumed = asyncio.ensure_future(signals.wait_for_signal())
    await starter.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert state.poll_requested.is_set() is polls
    assert state.relatives_changed.is_set() is relatives
    assert resumed.done() is resumes
    assert state.claim_requested.is_set()
    assert state.execution_ended.is_set()
    assert set(state.active) == {"here"}
    resumed.cancel()


async def test_a_run_that_raises_frees_its_slot(monkeypatch: Patch) -> None:
    starter = Starter(monkeypatch, ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        await starter.start()
    assert starter.state.active == {}
    assert starter.state.claim_requested.is_set()


@pytest.mark.parametrize("started_at", [None, "2026-01-01T00:00:00.000Z", "yesterday"])
async def test_a_start_time_of_another_program_does_not_prevent_a_run(
    started_at: str | None, monkeypatch: Patch
) -> None:
    starter = Starter(monkeypatch, COMPLETED)
    await starter.start(origin=ExecutionOrigin("w", started_at=started_at))
    assert len(starter.runs) == 1
