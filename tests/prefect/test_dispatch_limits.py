"""Limits of a handler: timeouts, threads and cancellation."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import pytest
from prefect import flow, get_run_logger, task
from prefect.states import Cancelled

from engine.errors import NodeError
from flows.nodes.retry_policy import MIN_PARKED_PAUSE_SECONDS
from flows.prefect_adapter.runs import prefect_context, run_flow
from tasks.context import NodeRun, current_node_run, enter_node_run
from tests.support.prefect_nodes import Retries, handle, run, this_task_run

ROOT = Path(__file__).parents[2]

# Timeouts


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_timeout_ends_each_attempt(is_async):
    released = threading.Event()

    def blocks(node, input_data):
        released.wait(20)

    async def waits(node, input_data):
        await asyncio.Event().wait()

    handler = task(waits if is_async else blocks)
    retries = Retries()
    begun = time.monotonic()
    try:
        with pytest.raises(NodeError, match=r"^timed out after 0.1 s$"):
            await run(
                lambda: handle(
                    handler, retries=1, delays=[0], timeout_seconds=0.1, on_retry=retries.note
                )
            )
        assert time.monotonic() - begun >= 0.2
    finally:
        released.set()
    assert retries == [(1, "timed out after 0.1 s")]


async def test_a_timeout_error_of_a_handler_is_kept():
    @task
    async def handler(node, input_data):
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="did not answer"):
        await run(lambda: handle(handler, timeout_seconds=5))


async def test_the_declared_timeout_of_a_task_applies():
    @task(timeout_seconds=0.05)
    async def handler(node, input_data):
        await asyncio.Event().wait()

    with pytest.raises(NodeError, match=r"timed out after 0.05 s"):
        await run(lambda: handle(handler))


def test_a_blocked_thread_does_not_delay_the_exit_of_the_interpreter(tmp_path):
    script = """
import asyncio, sys, time
from pathlib import Path
from flows.prefect_adapter.environment import prepare_prefect
prepare_prefect(None, Path(sys.argv[1]))
from prefect import task
from flows.nodes.attempts import AttemptPolicy, Attempts
from flows.nodes.prefect_task import run_handler
from flows.prefect_adapter.runs import prefect_context

@task
def stuck(node, input_data):
    time.sleep(600)

async def never(attempt, error):
    pass

async def main():
    async with prefect_context(None):
        try:
            policy = AttemptPolicy(timeout_seconds=0.1)
            await run_handler(stuck, {"id": "a"}, None, policy, Attempts(never))
        except Exception as error:
            print(error)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert (done.returncode, done.stdout) == (0, "timed out after 0.1 s\n"), done.stderr
    assert done.stderr == ""  # neither a warning about threads nor a traceback


# Threads


async def test_a_synchronous_handler_does_not_block_the_event_loop():
    heard = threading.Event()

    @task
    def handler(node, input_data):
        # It ends only if another coroutine runs at the same time.
        assert heard.wait(60)
        return "logged"

    async def speak():
        heard.set()

    async def body():
        return await asyncio.gather(handle(handler), speak())

    assert (await run(body))[0] == "logged"


async def test_a_synchronous_handler_has_the_contexts_of_its_run(caplog):
    mine: ContextVar[str] = ContextVar("mine")

    @task(name="syncer")
    def handler(node, input_data):
        get_run_logger().info("from a thread")
        return (
            this_task_run().name,
            current_node_run().idempotency_key,
            mine.get(),
            threading.current_thread() is not threading.main_thread(),
        )

    async def body():
        mine.set("value")
        enter_node_run(NodeRun(execution_id="e", node_id="n1"))
        return await handle(handler)

    with caplog.at_level("INFO"):
        assert await run(body) == ("My node (n1)", "e:n1", "value", True)
    assert "from a thread" in caplog.messages


async def test_a_synchronous_handler_may_call_tasks():
    @task
    def inner(number):
        return number + 1

    @task
    def handler(node, input_data):
        return inner(input_data)

    assert await run(lambda: handle(handler, 1)) == 2


async def test_a_plain_function_that_returns_a_coroutine_is_awaited():
    async def later():
        return "later"

    @task
    def handler(node, input_data):
        return later()

    assert await run(lambda: handle(handler)) == "later"


def exits():
    sys.exit(3)


def stops():
    raise StopIteration


def cancels():
    raise asyncio.CancelledError


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("how", "message"),
    [(exits, "exited with 3"), (cancels, "cancelled itself"), (stops, "StopIteration")],
)
async def test_a_handler_cannot_crash_the_service(how, message, is_async):
    def sync(node, input_data):
        how()

    async def later(node, input_data):
        how()

    with pytest.raises((NodeError, RuntimeError), match=message):
        await run(lambda: handle(task(later if is_async else sync)))


# Cancellation


LONG_PAUSE = MIN_PARKED_PAUSE_SECONDS
"""Longest pause that does not park the node, in seconds."""


@pytest.mark.parametrize("kind", ["async", "sync", "between attempts"])
async def test_a_cancelled_flow_run_ends_cancelled(kind):
    started, released, ended = threading.Event(), threading.Event(), []

    @task
    async def waits(node, input_data):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("handler")

    @task
    def blocks(node, input_data):
        started.set()
        released.wait(20)
        ended.append("late")

    @task
    async def fails(node, input_data):
        started.set()
        raise NodeError("again later")

    handler = {"async": waits, "sync": blocks, "between attempts": fails}[kind]

    @flow(name="cancelled", validate_parameters=False, persist_result=False)
    async def body(execution_id):
        try:
            await handle(handler, retries=1, delays=[LONG_PAUSE], on_retry=Retries().note)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            assert current is not None
            current.uncancel()
            return Cancelled(message="on request")

    async with prefect_context(None):
        running = asyncio.create_task(run_flow(body, "e", "n"))
        await asyncio.to_thread(started.wait, 10)
        await asyncio.sleep(0.02)
        running.cancel()
        state = await running
        # The synchronous handler is still blocked, because its end was not awaited.
        assert ended == (["handler"] if kind == "async" else [])
        released.set()
    assert state.is_cancelled()
    assert state.message == "on request"


async def test_a_cancelled_node_does_not_affect_other_nodes():
    @task
    async def handler(node, input_data):
        if input_data == "waits":
            await asyncio.Event().wait()
        await asyncio.sleep(0.05)
        return "done"

    async def body():
        waits = asyncio.create_task(handle(handler, "waits"))
        works = asyncio.create_task(handle(handler))
        await asyncio.sleep(0.02)
        waits.cancel()
        return await asyncio.gather(waits, works, return_exceptions=True)

    cancelled, done = await run(body)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert done == "done"
