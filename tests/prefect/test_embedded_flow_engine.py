"""The embedded flow engine behaves as Prefect's own, for everything that a flow sees."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow, get_run_logger, task
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as this_flow_run
from prefect.states import Cancelled, Completed

from flows.prefect_adapter.client import EmbeddedPrefectClient
from flows.prefect_adapter.flow_engine import EmbeddedFlowRunEngine
from flows.prefect_adapter.runs import prefect_context, run_flow


def flow_run_here() -> Any:
    """Return the flow run of the caller."""
    context: Any = FlowRunContext.get()
    return context.flow_run


@pytest.fixture(params=["embedded", "prefect"])
def flow_engine(request, monkeypatch):
    """Run each test with both flow engines, and check that the expected one is used."""
    used = []
    run = EmbeddedFlowRunEngine.run

    async def recorded(self, *args):
        used.append(self.flow.name)
        return await run(self, *args)

    monkeypatch.setattr(EmbeddedFlowRunEngine, "run", recorded)
    if request.param == "prefect":
        monkeypatch.setattr(
            "flows.prefect_adapter.flow_engine._needs_prefects_engine", lambda _flow: True
        )
    yield request.param
    assert bool(used) == (request.param == "embedded")


async def state_of(body: Callable[[], Any]) -> Any:
    """Return the final state of a flow run whose body is ``body``."""

    @flow(name="around", validate_parameters=False, persist_result=False)
    async def around(execution_id):
        return await body()

    async with prefect_context(None) as client:
        assert isinstance(client, EmbeddedPrefectClient)
        state = await run_flow(around, "e", "n")
        assert len(client) == 0
        return state


@pytest.mark.parametrize("ending", ["raises", "timeout", "cancelled", "completed", "value"])
async def test_a_flow_run_ends_in_the_same_state_with_both_engines(flow_engine, ending):
    async def body():
        if ending == "raises":
            raise ValueError("a bug")
        if ending == "timeout":
            raise TimeoutError("too late")
        if ending == "value":
            return 5
        return Cancelled(message="on request") if ending == "cancelled" else Completed(message="ok")

    state = await state_of(body)
    assert (state.name, state.message) == {
        "raises": ("Failed", "Flow run encountered an exception: ValueError: a bug"),
        "timeout": ("TimedOut", "Flow run failed due to timeout: TimeoutError('too late')"),
        "cancelled": ("Cancelled", "on request"),
        "completed": ("Completed", "ok"),
        "value": ("Completed", None),
    }[ending]


async def test_the_context_of_a_flow_run_is_the_same_with_both_engines(flow_engine):
    async def body():
        context: Any = FlowRunContext.get()
        assert context.flow_run.state.is_running()
        assert context.flow_run.start_time is not None
        assert context.persist_result is False
        get_run_logger().info("from the flow")
        return Completed(
            message=f"{this_flow_run.name} {this_flow_run.run_count} {context.parameters}"
        )

    state = await state_of(body)
    assert state.message == "n 1 {'execution_id': 'e'}"


async def test_tasks_can_be_submitted_in_a_flow_run(flow_engine):
    @task(persist_result=False)
    def double(number):
        return 2 * number

    async def body():
        futures = [double.submit(number) for number in range(3)]
        return Completed(message=str([future.result() for future in futures]))

    assert (await state_of(body)).message == "[0, 2, 4]"


async def test_a_cancelled_flow_run_crashes(flow_engine):
    started = asyncio.Event()
    runs = []

    async def body():
        runs.append(flow_run_here())
        started.set()
        await asyncio.Event().wait()

    running = asyncio.ensure_future(state_of(body))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [run.state.name for run in runs] == ["Crashed"]
