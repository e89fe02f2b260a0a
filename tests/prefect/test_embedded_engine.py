"""The embedded task engine observes the same as Prefect's own, for everything a handler sees."""

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

import prefect
import pytest
from prefect import get_run_logger, tags, task
from prefect.context import TaskRunContext, get_run_context
from prefect.flow_engine import AsyncFlowRunEngine, run_flow_async
from prefect.runtime import task_run as this_task_run
from prefect.states import Completed
from prefect.task_engine import AsyncTaskRunEngine, BaseTaskRunEngine, run_task_async
from prefect.tasks import Task
from prefect.transactions import atransaction

from engine.errors import NodeError
from flows.prefect_adapter import task_calls
from flows.prefect_adapter.task_calls import EmbeddedTaskRunEngine
from tests.support.prefect_nodes import NODE, Retries, a_flow, handle

REPLACED = {
    "run_task_async": run_task_async,
    "BaseTaskRunEngine": BaseTaskRunEngine,
    "start": AsyncTaskRunEngine.start,
    "initialize_run": AsyncTaskRunEngine.initialize_run,
    "setup_run_context": AsyncTaskRunEngine.setup_run_context,
    "begin_run": AsyncTaskRunEngine.begin_run,
    "run_context": AsyncTaskRunEngine.run_context,
    "transaction_context": AsyncTaskRunEngine.transaction_context,
    "atransaction": atransaction,
    "call_task_fn": AsyncTaskRunEngine.call_task_fn,
    "set_state": AsyncTaskRunEngine.set_state,
    "handle_success": AsyncTaskRunEngine.handle_success,
    "create_local_run": Task.create_local_run,
    "__call__": Task.__call__,
    "run_flow_async": run_flow_async,
    "start of a flow run": AsyncFlowRunEngine.start,
    "begin_run of a flow run": AsyncFlowRunEngine.begin_run,
    "initialize_run of a flow run": AsyncFlowRunEngine.initialize_run,
    "setup_run_context of a flow run": AsyncFlowRunEngine.setup_run_context,
    "run_context of a flow run": AsyncFlowRunEngine.run_context,
    "set_state of a flow run": AsyncFlowRunEngine.set_state,
    "handle_success of a flow run": AsyncFlowRunEngine.handle_success,
}
"""The parts of Prefect that ``task_calls.py`` and ``flow_engine.py`` replace."""

DIGEST = "7d01e7022b85f69303588f16ef04947b60798f3e0fdab2ccc8076e6241895d80"


@pytest.fixture(params=["embedded", "prefect"])
def engine(request, monkeypatch):
    """Run each test with both engines, and check that the expected one is used."""
    used = []
    run = EmbeddedTaskRunEngine.run

    async def recorded(self, *args):
        used.append(self.task.name)
        return await run(self, *args)

    monkeypatch.setattr(EmbeddedTaskRunEngine, "run", recorded)
    if request.param == "prefect":
        monkeypatch.setattr(task_calls, "_parameters_of", lambda task: None)
    yield request.param
    assert bool(used) == (request.param == "embedded")


async def outcome_of(call: Callable[[], Any]) -> Any:
    """Return the result of ``call`` in a flow, or its exception."""
    async with a_flow() as run:
        try:
            return await run(call)
        except Exception as error:  # noqa: BLE001 - compared by the caller
            return error


def task_run_here() -> Any:
    """Return the task run of the caller."""
    context: Any = TaskRunContext.get()
    return context.task_run


def fields_of(run) -> dict[str, Any]:
    """Return the fields of a task run that do not differ between two runs."""
    fields = run.model_dump()
    varying = ("id", "dynamic_key", "state_id", "flow_run_id", "created", "updated")
    times = ("expected_start_time", "start_time", "end_time", "total_run_time", "state")
    estimates = ("estimated_run_time", "estimated_start_time_delta")
    for name in (*varying, *times, *estimates):
        fields.pop(name)
    return fields


def test_the_replaced_methods_of_prefect_are_those_of_the_pinned_version():
    text = "".join(inspect.getsource(part) for part in REPLACED.values())
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == DIGEST, (
        f"Prefect {prefect.__version__} has other versions of {', '.join(REPLACED)}: compare them "
        "with task_calls.py and flow_engine.py in flows/prefect_adapter, adapt these modules, and "
        "then update DIGEST in this test"
    )


async def test_a_task_run_has_the_same_fields_with_both_engines(engine):
    @task(version="7", retries=2, retry_jitter_factor=0.5)
    async def handler(node, input_data):
        run = this()
        assert run.start_time == run.state.timestamp
        assert run.state.state_details.task_run_id == run.id == this_task_run_id()
        assert run.state.state_details.flow_run_id == run.flow_run_id is not None
        assert run.expected_start_time <= run.start_time
        return fields_of(run)

    def this() -> Any:
        context = get_run_context()
        assert isinstance(context, TaskRunContext)
        assert context.parameters == {"node": NODE, "input_data": {"a": 1}}
        assert context.persist_result is False
        return context.task_run

    def this_task_run_id():
        return task_run_here().id

    fields = await outcome_of(lambda: handle(handler, {"a": 1}))
    assert fields == {
        "name": "My node (n1)",
        "task_key": fields["task_key"],
        "cache_key": None,
        "cache_expiration": None,
        "task_version": "7",
        "empirical_policy": fields["empirical_policy"],
        "tags": [],
        "labels": {},
        "task_inputs": {"node": [], "input_data": []},
        "state_type": "RUNNING",
        "state_name": "Running",
        "run_count": 1,
        "flow_run_run_count": 1,
        "next_scheduled_start_time": None,
    }
    assert fields["empirical_policy"]["retries"] == 2
    assert fields["empirical_policy"]["retry_jitter_factor"] == 0.5


async def test_hooks_receive_the_states_of_a_task_run_that_fails_once(engine):
    calls = []

    def hook(event):
        async def record(_task, run, state):
            data = await state.aresult(raise_on_failure=False) if state.is_final() else None
            calls.append((event, state.name, run.run_count, repr(data)))

        return record

    @task(
        on_running=[hook("running")],
        on_completion=[hook("completion")],
        on_failure=[hook("failure")],
    )
    async def handler(node, input_data):
        calls.append(("attempt", this_task_run.run_count))
        if this_task_run.run_count == 1:
            raise ValueError("once")
        return 5

    retries = Retries()
    result = await outcome_of(
        lambda: handle(handler, on_retry=retries.note, retries=1, delays=(0.01,))
    )
    assert (result, list(retries)) == (5, [(1, "ValueError: once")])
    assert calls == [
        ("running", "Running", 1, "None"),
        ("attempt", 1),
        ("running", "Retrying", 2, "None"),
        ("attempt", 2),
        ("completion", "Completed", 2, "5"),
    ]


async def test_the_failure_hook_receives_the_exception_of_the_last_attempt(engine):
    failures = []

    def failed(_task, run, state):
        failures.append((state.name, repr(state.data.result), run.run_count, bool(run.end_time)))

    @task(on_failure=[failed])
    def handler(node, input_data):
        raise ValueError("always")

    retries = Retries()
    error = await outcome_of(lambda: handle(handler, on_retry=retries.note, retries=1))
    assert isinstance(error, ValueError)
    assert len(retries) == 1
    assert failures == [("Failed", "ValueError('always')", 2, True)]


async def test_a_timeout_ends_the_attempt_and_its_state_is_timed_out(engine):
    states = []
    cancelled = []

    @task(on_failure=[lambda _task, _run, state: states.append((state.name, state.message))])
    async def handler(node, input_data):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    error = await outcome_of(lambda: handle(handler, timeout_seconds=0.05))
    assert isinstance(error, NodeError)
    assert str(error) == "timed out after 0.05 s"
    assert states == [("TimedOut", "Task run exceeded timeout of 0.05 second(s)")]
    assert cancelled == [True]


async def test_a_declared_retry_condition_ends_the_attempts(engine):
    seen = []

    async def never(_task, run, state):
        seen.append((run.run_count, state.name))
        return False

    @task(retries=5, retry_condition_fn=never)
    async def handler(node, input_data):
        raise ValueError("no")

    assert isinstance(await outcome_of(lambda: handle(handler)), ValueError)
    assert seen == [(1, "Failed")]


async def test_a_cancelled_task_run_crashes(engine):
    started = asyncio.Event()
    states = []

    @task
    async def handler(node, input_data):
        states.append(task_run_here())
        started.set()
        await asyncio.Event().wait()

    async def cancel():
        running = asyncio.ensure_future(handle(handler))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return "cancelled"

    assert await outcome_of(cancel) == "cancelled"
    assert [run.state.name for run in states] == ["Crashed"]
    assert states[0].end_time is not None


async def test_tasks_in_a_handler_have_the_run_of_the_handler_as_parent(engine):
    @task(persist_result=False)
    async def inner():
        return [parent.id for parent in task_run_here().task_inputs["__parents__"]]

    @task(persist_result=False)
    def inner_sync():
        return [parent.id for parent in task_run_here().task_inputs["__parents__"]]

    @task
    async def handler(node, input_data):
        return [task_run_here().id], await inner(), inner_sync()

    own, inner_parents, sync_parents = await outcome_of(lambda: handle(handler))
    assert own == inner_parents == sync_parents


async def test_a_failed_handler_rolls_back_the_tasks_in_it(engine):
    rolled_back = []

    @task(persist_result=False)
    async def stored():
        return "stored"

    @stored.on_rollback
    def undo(transaction):
        rolled_back.append("stored")

    @task
    async def handler(node, input_data):
        await stored()
        raise ValueError("after it")

    assert isinstance(await outcome_of(lambda: handle(handler)), ValueError)
    assert rolled_back == ["stored"]


async def test_commit_hooks_of_a_handler_run_after_its_success(engine):
    committed = []

    @task
    async def handler(node, input_data):
        return 1

    @handler.on_commit
    def commit(transaction):
        committed.append("handler")

    assert await outcome_of(lambda: handle(handler)) == 1
    assert committed == ["handler"]


async def test_the_run_logger_names_the_task_run(engine, caplog):
    @task
    async def handler(node, input_data):
        get_run_logger().warning("from the handler")

    with caplog.at_level(logging.WARNING, "prefect.task_runs"):
        await outcome_of(lambda: handle(handler))
    record = next(record for record in caplog.records if record.message == "from the handler")
    assert (record.task_run_name, record.flow_run_name) == ("My node (n1)", "n")


async def test_a_list_of_states_is_returned_as_by_prefect(engine):
    @task
    async def handler(node, input_data):
        return [Completed(data=1), Completed(data=2)]

    result = await outcome_of(lambda: handle(handler))
    assert [state.name for state in result] == ["Completed", "Completed"]


class TestOwnEngineOfPrefect:
    """Prefect's own engine runs the tasks that use more of it."""

    @pytest.fixture(autouse=True)
    def not_embedded(self, monkeypatch):
        async def refuse(self, *args):
            raise AssertionError("the embedded engine omits a part that this task uses")

        monkeypatch.setattr(EmbeddedTaskRunEngine, "run", refuse)

    @pytest.mark.parametrize(
        "options", [{"tags": ["slow"]}, {"log_prints": True}, {"asset_deps": ["s3://a/b"]}]
    )
    async def test_a_task_with_options_of_a_server(self, options):
        @task(**options)
        async def handler(node, input_data):
            return 1

        assert await outcome_of(lambda: handle(handler)) == 1

    async def test_a_task_within_tags(self):
        @task
        async def handler(node, input_data):
            return task_run_here().tags

        async def tagged():
            with tags("nightly"):
                return await handle(handler)

        assert await outcome_of(tagged) == ["nightly"]

    async def test_a_task_with_more_parameters(self):
        @task
        async def handler(node, input_data, limit=10):
            return limit

        assert await outcome_of(lambda: handle(handler)) == 10
