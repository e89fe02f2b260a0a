"""Assigned runs in virtual time: which flow runs of a work pool a worker runs, and when."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from database.executions.dispatches import IsolationPendingError, LimitReachedError
from engine.errors import StorageUnavailableError
from flows.execution.signals import ExecutionSignals
from flows.worker import assigned_runs as module
from flows.worker import dispatch_waits
from flows.worker.assigned_runs import AssignedRuns
from flows.worker.execution_starter import ExecutionStarter
from flows.worker.state import WorkerState
from flows.workflow_flow import workflow_flow
from tests.support.recorded_client import RecordedClient
from tests.support.scripted_database import ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

SLOTS, POLL_SECONDS, RUN_SECONDS = 2, 4.0, 10.0
BUSY = StorageUnavailableError("busy")
CONTEXT = object()

Patch = pytest.MonkeyPatch


class Pool:
    """A worker of a pool whose executions take ``RUN_SECONDS``, and its Prefect server."""

    def __init__(self, monkeypatch: Patch, *, recoveries: int = 3, **answers: list[Any]) -> None:
        self.client = RecordedClient(read_flow_run=lambda id_: SimpleNamespace(id=id_, state=None))
        self.database = ScriptedDatabase(**answers)
        self.database.answers.setdefault("dispatches.claim", [lambda _, id_, *__: id_])
        self.state = WorkerState("me")
        self.started: list[tuple[float, str]] = []
        self.flows: list[Any] = []
        self.starts_flow = self.stopping = False
        settings = SimpleNamespace(
            max_concurrent_executions=SLOTS,
            max_recovery_attempts=recoveries,
            lease_seconds=20.0,
            poll_interval_seconds=POLL_SECONDS,
        )
        starter = SimpleNamespace(
            settings=settings,
            database=self.database,
            is_stopping=lambda: self.stopping,
            start=self._start,
        )
        monkeypatch.setattr(module, "require_prefect_context", lambda: self.client)
        monkeypatch.setattr(module, "run_created_flow", self._run_flow)
        self.runs = AssignedRuns(cast("ExecutionStarter", starter), self.state)

    def _start(self, claimed: str, state: WorkerState, start_flow: Any) -> asyncio.Task[None]:
        assert state is self.state
        self.started.append((asyncio.get_running_loop().time(), claimed))
        state.active[claimed] = ExecutionSignals()
        return asyncio.create_task(self._run(claimed, start_flow))

    async def _run(self, claimed: str, start_flow: Any) -> None:
        if self.starts_flow:
            await start_flow(CONTEXT, "name", self._link)
        await asyncio.sleep(RUN_SECONDS)
        del self.state.active[claimed]

    async def _link(self, flow_run_id: str) -> None:
        raise AssertionError(flow_run_id)

    async def _run_flow(self, *arguments: Any) -> str:
        self.flows.append(arguments)
        return "state"

    def run(self, *ids: str) -> Awaitable[Any]:
        """Run a flow run for each execution; return when all have ended."""
        return asyncio.gather(*(self.runs.run(flow_run(id_)) for id_ in ids))


def flow_run(execution_id: str) -> FlowRun:
    run_id = UUID(int=sum(execution_id.encode()))
    return cast("FlowRun", SimpleNamespace(id=run_id, parameters={"execution_id": execution_id}))


@in_virtual_time
async def test_a_claimed_execution_runs_in_its_flow_run(monkeypatch: Patch) -> None:
    pool = Pool(monkeypatch)
    pool.starts_flow = True
    await pool.run("a")
    assert pool.started == [(0, "a")]
    assert pool.flows == [(workflow_flow, flow_run("a"), pool._link, CONTEXT)]
    assert pool.client.requests == []
    assert pool.state.tasks == set()


@pytest.mark.parametrize(("recoveries", "isolate_after"), [(1, 1), (2, 1), (3, 2), (5, 4)])
@in_virtual_time
async def test_the_last_attempt_is_claimed_in_isolation(
    recoveries: int, isolate_after: int, monkeypatch: Patch
) -> None:
    pool = Pool(monkeypatch, recoveries=recoveries)
    await pool.run("a")
    assert pool.database.arguments["dispatches.claim"] == [("me", "a", 20.0, isolate_after)]


@in_virtual_time
async def test_a_flow_run_whose_execution_is_not_claimable_is_completed(monkeypatch: Patch) -> None:
    pool = Pool(monkeypatch, dispatches__claim=[None])
    await pool.run("a")
    assert pool.started == []
    assert [type_ for _, type_, _ in pool.client.ends()] == [StateType.COMPLETED]
    assert "dispatches.withdraw_flow_run" not in pool.database.arguments


@in_virtual_time
async def test_a_flow_run_without_a_started_flow_is_crashed(monkeypatch: Patch) -> None:
    pool = Pool(monkeypatch)
    await pool.run("a")
    [(run_id, type_, _)] = pool.client.ends()
    assert (run_id, type_) == (str(flow_run("a").id), StateType.CRASHED)


@pytest.mark.parametrize("withdraw", [None, BUSY])
@in_virtual_time
async def test_an_execution_that_a_limit_holds_back_is_returned(
    withdraw: Any, monkeypatch: Patch
) -> None:
    pool = Pool(
        monkeypatch,
        dispatches__claim=[LimitReachedError("limit")],
        dispatches__withdraw_flow_run=[withdraw],
    )
    await pool.run("a")
    run_id = str(flow_run("a").id)
    assert pool.started == []
    assert pool.database.arguments["dispatches.withdraw_flow_run"] == [("a", run_id)]
    [(ended, type_, message)] = pool.client.ends()
    assert (ended, type_) == (run_id, StateType.CANCELLED)
    assert "limit" in message


@in_virtual_time
async def test_a_claim_is_repeated_while_the_database_is_unavailable_until_the_worker_stops(
    monkeypatch: Patch,
) -> None:
    pool = Pool(monkeypatch, dispatches__claim=[BUSY, BUSY, "a"])
    await pool.run("a")
    assert [id_ for _, id_ in pool.started] == ["a"]
    pool = Pool(monkeypatch, dispatches__claim=[BUSY])
    asyncio.get_running_loop().call_later(30, setattr, pool, "stopping", True)
    await pool.run("a")
    assert pool.started == []
    assert len(pool.client.ends()) == 1


@in_virtual_time
async def test_a_worker_that_stops_claims_nothing(monkeypatch: Patch) -> None:
    pool = Pool(monkeypatch)
    pool.stopping = True
    await pool.run("a", "b")
    assert "dispatches.claim" not in pool.database.arguments
    assert [type_ for _, type_, _ in pool.client.ends()] == [StateType.CANCELLED] * 2


@in_virtual_time
async def test_flow_runs_beyond_the_slots_wait_until_an_execution_ends(monkeypatch: Patch) -> None:
    pool = Pool(monkeypatch)
    await pool.run("a", "b", "c")
    assert pool.started == [(0, "a"), (0, "b"), (RUN_SECONDS, "c")]
    assert [args[1] for args in pool.database.arguments["dispatches.claim"]] == ["a", "b", "c"]


@in_virtual_time
async def test_an_execution_in_isolation_waits_for_the_others_and_the_next_ones_wait_for_it(
    monkeypatch: Patch,
) -> None:
    def claim(_: str, execution_id: str, *__: Any) -> str:
        if execution_id == "poisoned" and pool.state.active:
            raise IsolationPendingError
        return execution_id

    pool = Pool(monkeypatch, dispatches__claim=[claim])
    await pool.run("a", "poisoned", "b")
    assert pool.started == [(0, "a"), (RUN_SECONDS, "poisoned"), (RUN_SECONDS, "b")]


@in_virtual_time
async def test_without_other_executions_a_worker_claims_again_after_the_poll_interval(
    monkeypatch: Patch,
) -> None:
    pool = Pool(monkeypatch, dispatches__claim=[IsolationPendingError(), "a"])
    await pool.run("a")
    assert pool.database.times("dispatches.claim") == [0, POLL_SECONDS]
    pool = Pool(monkeypatch)  # executions that this worker did not start for a flow run
    pool.state.active.update({"x": ExecutionSignals(), "y": ExecutionSignals()})
    start = asyncio.get_running_loop().time()
    asyncio.get_running_loop().call_at(start + 5, pool.state.active.clear)
    await pool.run("a")
    assert pool.started == [(start + 2 * POLL_SECONDS, "a")]


@in_virtual_time
async def test_a_wait_for_other_executions_ends_at_the_poll_interval(monkeypatch: Patch) -> None:
    answers = ["long", IsolationPendingError(), "a"]
    pool = Pool(monkeypatch, dispatches__claim=answers)
    await pool.run("long", "a")
    assert pool.started == [(0, "long"), (POLL_SECONDS, "a")]


@in_virtual_time
async def test_an_execution_continues_when_the_polling_of_its_flow_run_is_cancelled(
    monkeypatch: Patch,
) -> None:
    pool = Pool(monkeypatch)
    await run_for(1, pool.runs.run(flow_run("a")))
    assert set(pool.state.active) == {"a"}
    (task,) = pool.state.tasks
    await task
    assert pool.state.active == {}
    assert pool.state.tasks == set()
    assert len(pool.client.ends()) == 1


@pytest.mark.parametrize(("active", "delay"), [(0, 0.0), (1, 0.5), (2, 1.0)])
@in_virtual_time
async def test_the_poll_after_a_free_slot_is_delayed_by_the_used_share_of_the_slots(
    active: int, delay: float, monkeypatch: Patch
) -> None:
    random: Callable[[], float] = lambda: 0.0  # noqa: E731
    monkeypatch.setattr(dispatch_waits.random, "random", random)
    monkeypatch.setattr(dispatch_waits, "MAX_SPREAD_SECONDS", 2.0)
    pool = Pool(monkeypatch, dispatches__claim=[None])
    await pool.run("a")
    pool.state.active.update({str(number): ExecutionSignals() for number in range(active)})
    await pool.runs.wait_for_dispatch()
    assert asyncio.get_running_loop().time() == delay
