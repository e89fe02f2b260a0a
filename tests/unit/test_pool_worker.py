"""Pool worker: it runs what Prefect assigns to it, and polls again after an error."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseJobConfiguration, BaseWorker

from flows.worker import pool_worker as module
from flows.worker.assigned_runs import AssignedRuns
from flows.worker.pool_worker import WorkflowWorker, poll_work_pool
from tests.support.scripted_database import run_for
from tests.support.virtual_time import in_virtual_time

RUN = cast("FlowRun", SimpleNamespace(id=UUID(int=1), parameters={"execution_id": "e"}))


class Runs:
    """Records the flow runs that a worker passes on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[Any] = []

    async def run(self, flow_run: FlowRun) -> None:
        self.calls.append(flow_run)
        if self.error is not None:
            raise self.error

    async def wait_for_dispatch(self) -> None:
        self.calls.append("wait")


class Slots:
    """The slots and the observer of a worker, which Prefect's loops fill."""

    def __init__(self, worker: Any, *, assigned: bool = True, observes: bool = True) -> None:
        self.released: list[UUID] = []
        self.observed: list[UUID] = []
        worker._submitting_flow_run_ids = {RUN.id, UUID(int=2)}
        worker._release_limit_slot = self.released.append
        observer = SimpleNamespace(remove_in_flight_flow_run_id=self.observed.append)
        worker._cancelling_observer = observer if observes else None

        async def propose(_: FlowRun) -> bool:
            return assigned

        worker._propose_pending_state = propose


def worker_of(runs: Runs) -> WorkflowWorker:
    return WorkflowWorker(cast("AssignedRuns", runs), "pool", name="one", limit=3)


@pytest.mark.parametrize("error", [None, ValueError("a defect")])
@pytest.mark.parametrize("observes", [True, False])
async def test_an_assigned_flow_run_is_run_and_then_frees_its_slot(
    error: Exception | None, observes: bool
) -> None:
    runs = Runs(error)
    worker = worker_of(runs)
    assert (worker.name, worker._work_pool_name) == ("one", "pool")
    slots = Slots(worker, observes=observes)
    await worker._submit_run(RUN)
    assert runs.calls == [RUN]
    assert slots.released == [RUN.id]
    assert slots.observed == ([RUN.id] if observes else [])
    assert worker._submitting_flow_run_ids == {UUID(int=2)}


async def test_a_flow_run_that_the_server_assigns_to_another_worker_is_not_run() -> None:
    runs = Runs()
    worker = worker_of(runs)
    slots = Slots(worker, assigned=False)
    await worker._submit_run(RUN)
    assert runs.calls == []
    assert slots.released == [RUN.id]


async def test_a_worker_waits_for_a_submission_before_each_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = Runs()

    async def poll(_: object) -> list[FlowRun]:
        runs.calls.append("poll")
        return [RUN]

    monkeypatch.setattr(BaseWorker, "get_and_submit_flow_runs", poll)
    assert await worker_of(runs).get_and_submit_flow_runs() == [RUN]
    assert runs.calls == ["wait", "poll"]


@in_virtual_time
async def test_the_pool_is_polled_again_after_the_polling_has_ended() -> None:
    starts: list[tuple[float, tuple[Any, ...], dict[str, Any]]] = []
    polls: list[int] = []

    class Worker:
        def __init__(self, *args: Any, **options: Any) -> None:
            starts.append((asyncio.get_running_loop().time(), args, options))

        async def start(self, **_: Any) -> None:
            polls.append(len(starts))
            if len(starts) < 3:
                raise ConnectionError("no server")

    runs = cast("AssignedRuns", Runs())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WorkflowWorker", Worker)
        await run_for(7, poll_work_pool("pool", "one", 3)(runs))
    assert [time for time, *_ in starts] == [0, 2, 4, 6]
    assert polls == [1, 2, 3, 4]
    assert all(
        (args, options) == ((runs, "pool"), {"name": "one", "limit": 3})
        for _, args, options in starts
    )


async def test_prefect_records_the_success_of_a_flow_run_that_was_passed_on() -> None:
    runs = Runs()
    result = await worker_of(runs).run(RUN, BaseJobConfiguration())
    assert runs.calls == [RUN]
    assert (result.identifier, result.status_code) == (str(RUN.id), 0)
