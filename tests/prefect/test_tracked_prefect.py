"""With the URL of a Prefect server, the server shows every run."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest
from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.states import Cancelled, Completed, Failed

from engine.document import Node
from engine.errors import NodeError
from flows.nodes.attempts import AttemptPolicy, Attempts
from flows.nodes.node_runner import NodeRunner
from flows.nodes.prefect_task import run_handler
from flows.prefect_adapter.environment import prepare_prefect
from flows.prefect_adapter.runs import local_result_storage, prefect_context, run_flow
from flows.prefect_adapter.secrets import fetch_secret
from tasks.config.base import fill
from tasks.context import HandlerSettings
from tasks.registry import NodeTypes
from tasks.secrets import Secrets
from tests.support.prefect_server import prefect_server

RECORDED_SECONDS = 30.0

pytestmark = [pytest.mark.prefect_server, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a Prefect server for these tests; return its API URL."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server")) as running:
        yield running.api_url


@pytest.fixture
def tracked(server, tmp_path):
    prepare_prefect(server, tmp_path)
    return server


waiting = threading.Event()
"""Set when the waiting handler has started."""


async def no_retry(attempt, error):
    raise AssertionError(f"attempt {attempt} is made again: {error}")


@task(name="fetch")
async def fetch(node, input_data):
    if input_data == "fails":
        raise NodeError("no such page", retryable=False)
    if input_data == "waits":
        waiting.set()
        await asyncio.Event().wait()
    get_run_logger().info("fetched")
    return {"outputData": 1}


@task(name="compute", tags={"heavy"})
def compute(node, input_data):
    return {"outputData": 2}


@flow(name="workflow", validate_parameters=False, persist_result=False)
async def workflow(execution_id):
    policy = AttemptPolicy(retries=0, timeout_seconds=30)
    first = {"id": "n1", "label": "Get the page"}
    try:
        await run_handler(fetch, first, execution_id, policy, Attempts(no_retry))
        second = {"id": "n2", "label": "Add up"}
        await run_handler(compute, second, None, policy, Attempts(no_retry))
    except NodeError as error:
        return Failed(message=str(error))
    except asyncio.CancelledError:
        current = asyncio.current_task()
        assert current is not None
        current.uncancel()
        return Cancelled(message="Cancelled on request")
    return Completed(message="The workflow is done")


local_result_storage(workflow, Path(os.environ["PREFECT_HOME"]))


@pytest.fixture(autouse=True)
def embedded_again(tmp_path):
    yield
    prepare_prefect(None, tmp_path)


async def recorded(client, flow_run_id, count):
    """Return the names and states of the task runs, which the server creates from events later."""
    of_flow_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))
    deadline = time.monotonic() + RECORDED_SECONDS
    while True:
        runs = await client.read_task_runs(task_run_filter=of_flow_run)
        found = {run.name: run.state_name for run in runs}
        ended = all(run.state is not None and run.state.is_final() for run in runs)
        if (len(found) == count and ended) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("execution_id", "state_name", "message", "tasks"),
    [
        (
            "works",
            "Completed",
            "The workflow is done",
            {"Get the page (n1)": "Completed", "Add up (n2)": "Completed"},
        ),
        ("fails", "Failed", "no such page", {"Get the page (n1)": "Failed"}),
        ("waits", "Cancelled", "Cancelled on request", {"Get the page (n1)": "Crashed"}),
    ],
)
async def test_the_server_shows_name_state_and_task_runs(
    tracked, execution_id, state_name, message, tasks
):
    flow_run_ids = []

    async def on_created(flow_run_id):
        flow_run_ids.append(flow_run_id)

    async with prefect_context(tracked) as client:
        name = f"My workflow {execution_id}"
        running = asyncio.create_task(run_flow(workflow, execution_id, name, on_created))
        if execution_id == "waits":
            await asyncio.to_thread(waiting.wait, 20)
            running.cancel()
        state = await running
        assert state.name == state_name

        by_id = FlowRunFilter(id=FlowRunFilterId(any_=flow_run_ids))
        [flow_run] = await client.read_flow_runs(flow_run_filter=by_id)
        assert flow_run.name == name
        assert flow_run.parameters == {"execution_id": execution_id}
        assert flow_run.state is not None
        assert (flow_run.state.name, flow_run.state.message) == (state_name, message)
        assert await recorded(client, flow_run.id, len(tasks)) == tasks
        # By default, log messages of handlers are not sent.
        logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run.id]))
        assert await client.read_logs(log_filter=logs) == []


async def test_events_reach_the_server_after_services_without_one_ended(server, tmp_path):
    """Two contexts without a server end in the order in which they began, as in two threads."""
    prepare_prefect(None, tmp_path)
    entered = [asyncio.Event(), asyncio.Event()]
    may_end = [asyncio.Event(), asyncio.Event()]

    async def embedded(number: int) -> None:
        async with prefect_context(None):
            entered[number].set()
            await may_end[number].wait()

    running = []
    for number, has_entered in enumerate(entered):
        running.append(asyncio.create_task(embedded(number)))
        await has_entered.wait()
    for task_of_context, end in zip(running, may_end, strict=True):
        end.set()
        await task_of_context

    prepare_prefect(server, tmp_path)
    async with prefect_context(server) as client:
        state = await run_flow(workflow, "works", "After others")
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        assert len(await recorded(client, run_id, 2)) == 2


async def test_log_messages_of_handlers_are_sent_if_configured(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "true")
    prepare_prefect(server, tmp_path)
    flow_run_ids = []

    async def on_created(flow_run_id):
        flow_run_ids.append(flow_run_id)

    async with prefect_context(server) as client:
        await run_flow(workflow, "logs", "logs", on_created)
    async with prefect_context(server) as client:  # its exit sends the messages
        logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=flow_run_ids))
        messages = [line.message for line in await client.read_logs(log_filter=logs)]
    assert messages == ["fetched"]  # and no messages of the engines


async def test_a_flow_run_that_is_not_started_does_not_stay_pending(tracked):
    flow_run_ids = []

    async def lost(flow_run_id):
        flow_run_ids.append(flow_run_id)
        raise LookupError("the lease is lost")

    async with prefect_context(tracked) as client:
        with pytest.raises(LookupError):
            await run_flow(workflow, "never", "never", lost)
        assert (await client.read_flow_run(flow_run_ids[0])).state_name == "Crashed"


@task(name="rejecting")
async def rejecting(node, input_data):
    raise NodeError(f"rejected {fill('key', node['config']['key'], input_data)}", retryable=False)


@flow(name="workflow", validate_parameters=False, persist_result=False)
async def with_a_block(execution_id):
    await Secret(value="c4n4ry-of-a-block").save("shop-key", overwrite=True)  # pyright: ignore
    types = NodeTypes({"rejecting": rejecting}, {})
    runner = NodeRunner(types, HandlerSettings(secrets=Secrets({}, fetch_secret)), execution_id)
    for name in ("SHOP_KEY", "GONE"):
        node = Node("n", "rejecting", "Reject", {"key": f"{{{{ secrets.{name} }}}}"})
        with pytest.raises(NodeError) as raised:
            await asyncio.create_task(runner.run(node, None, no_retry))
        messages.append(str(raised.value))
    return Completed(message="done")


messages: list[str] = []


async def test_a_secret_block_is_masked_and_never_sent_to_the_server(tracked, tmp_path):
    local_result_storage(with_a_block, tmp_path)
    async with prefect_context(tracked) as client:
        state = await run_flow(with_a_block, "e", "rejecting")
        assert state.is_completed(), state.message
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

        deadline = time.monotonic() + RECORDED_SECONDS
        while len(runs := await client.read_task_runs(flow_run_filter=mine)) < 2 or any(
            run.state is None or not run.state.is_final() for run in runs
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)  # the server records events with a delay

    rejected, missing = messages
    assert rejected == "rejected ***"
    assert "no secret 'GONE'" in missing
    shown = "".join(run.model_dump_json() for run in runs)
    assert "rejected ***" in shown
    assert "c4n4ry" not in shown
