"""The embedded client with the pinned Prefect; an upgrade that uses more methods fails here."""

import asyncio
import contextvars
import functools
import inspect
import logging
import os
import signal
import socket
import subprocess
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from prefect import flow, get_client, get_run_logger, tags, task
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort
from prefect.runtime import flow_run as this_flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.prefect_adapter.client import (
    EmbeddedPrefectClient,
    EmbeddedSyncPrefectClient,
    PrefectServerNeededError,
)
from flows.prefect_adapter.runs import local_result_storage, prefect_context, run_flow

lightweight: Any = functools.partial(flow, validate_parameters=False, persist_result=False)


@task(persist_result=False)
async def double(number):
    return number * 2


@task(persist_result=False)
def triple(number):
    return number * 3


@task(persist_result=False, tags={"slow", "io"})
async def tagged(number):
    return number


@lightweight(name="one-of-each")
async def one_of_each(execution_id):
    assert triple(await double(await tagged(1))) == 6
    get_run_logger().info("worked on %s", execution_id)


local_result_storage(one_of_each, Path(os.environ["PREFECT_HOME"]))


@asynccontextmanager
async def embedded():
    async with prefect_context(None) as client:
        assert isinstance(client, EmbeddedPrefectClient)
        yield client


def record_calls(monkeypatch):
    """Record the names of the client's methods that are called."""
    called = set()

    def recording(name, method):
        @functools.wraps(method)
        async def record(self, *args, **kwargs):
            called.add(name)
            return await method(self, *args, **kwargs)

        return record

    for name, method in inspect.getmembers(EmbeddedPrefectClient, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            monkeypatch.setattr(EmbeddedPrefectClient, name, recording(name, method))
    return called


def close_the_network(monkeypatch):
    """Make connections, name resolution, listening sockets and processes fail."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"not in embedded mode: {args!r}")

    for name in ("connect", "connect_ex", "bind", "listen"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(anyio, "open_process", refuse)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)


async def test_the_engines_call_exactly_these_methods(monkeypatch):
    called = record_calls(monkeypatch)
    async with embedded():
        with tags(f"tag-{uuid4()}"):  # a new tag, because Prefect caches limits for 5 s
            state = await run_flow(one_of_each, "e", "n")
    assert state.is_completed(), state.message
    assert called == {
        "create_flow_run",
        "update_flow_run",
        "read_flow_run",
        "set_flow_run_state",
        "increment_concurrency_slots_with_lease",  # for the tags
    }


async def test_flows_run_with_the_network_closed_and_without_processes(monkeypatch):
    close_the_network(monkeypatch)
    before = threading.active_count()
    async with embedded():
        for number in range(5):
            state = await run_flow(one_of_each, f"e{number}", "n")
            assert state.is_completed(), state.message
        # Prefect's loop thread, its events worker and one for the set of tags, but none per run.
        assert threading.active_count() - before <= 5


async def test_a_flow_run_has_the_given_name_id_and_parameters():
    seen = {}

    @lightweight(name="named")
    async def named(execution_id):
        seen.update(
            name=this_flow_run.name,
            id=str(this_flow_run.id),
            flow=this_flow_run.flow_name,
            parameter=execution_id,
            run_count=this_flow_run.run_count,
        )

    async def on_created(flow_run_id):
        seen["notified"] = flow_run_id

    async with embedded():
        await run_flow(named, "e-1", "My workflow e-1", on_created)
    assert seen["notified"] == seen["id"]
    assert (seen["name"], seen["flow"], seen["parameter"], seen["run_count"]) == (
        "My workflow e-1",
        "named",
        "e-1",
        1,
    )


@pytest.mark.parametrize("ending", ["raises", "failed", "cancelled", "completed"])
async def test_every_final_state_is_returned_and_the_flow_run_is_removed(ending):
    @lightweight(name="ending")
    async def body(execution_id):
        if execution_id == "raises":
            raise ValueError("a bug")
        if execution_id == "failed":
            return Failed(message="on purpose")
        return Cancelled() if execution_id == "cancelled" else Completed()

    async with embedded() as client:
        state = await run_flow(body, ending, "n")
        assert len(client) == 0
    expected = "failed" if ending == "raises" else ending
    assert state.type.value.lower() == expected


async def test_the_client_holds_no_flow_run_after_two_hundred():
    held = []

    @lightweight(name="held")
    async def held_flow(execution_id):
        held.append(len(client))
        if int(execution_id) % 3 == 0:
            raise ValueError("every third fails")

    async with embedded() as client:
        for number in range(200):
            await run_flow(held_flow, str(number), "n")
        assert len(client) == 0
    assert set(held) == {1}


async def test_a_final_state_removes_the_flow_run():
    async with embedded() as client:
        flow_run = await client.create_flow_run(one_of_each)
        assert len(client) == 1
        await client.set_flow_run_state(flow_run.id, Completed())
        assert len(client) == 0


async def test_the_events_worker_starts_outside_of_flow_contexts():
    async with embedded():
        workers = [type(worker) for worker in EventsWorker._instances.values()]
        assert EventsWorker in workers


async def test_a_hundred_flows_of_ten_tasks_at_once_all_complete():
    @lightweight(name="many")
    async def many(execution_id):
        results = await asyncio.gather(*(double(n) for n in range(10)))
        assert results == [2 * n for n in range(10)]

    async with embedded() as client:
        states = await asyncio.gather(*(run_flow(many, str(number), "n") for number in range(100)))
        assert len(client) == 0
    assert all(state.is_completed() for state in states)


async def test_hooks_of_flows_are_called():
    fired = []

    async def completed(_flow, flow_run, state):
        fired.append(("completed", flow_run.name, state.name))

    def failed(_flow, flow_run, state):
        fired.append(("failed", flow_run.name, state.name))

    @lightweight(name="hooked", on_completion=[completed], on_failure=[failed])
    async def hooked(execution_id):
        if execution_id == "bad":
            raise ValueError("bad")

    async with embedded():
        await run_flow(hooked, "good", "first")
        await run_flow(hooked, "bad", "second")
    assert fired == [("completed", "first", "Completed"), ("failed", "second", "Failed")]


async def test_log_messages_of_handlers_pass_and_those_of_engines_do_not(caplog):
    @task(persist_result=False)
    async def speaks(number):
        get_run_logger().info("async task %s", number)

    @task(persist_result=False)
    def speaks_too(number):
        get_run_logger().info("sync task %s", number)

    @task(persist_result=False, log_prints=True)
    async def prints():
        print("a printed line")

    @task(persist_result=False)
    async def fails() -> None:
        raise ValueError("secret of the traceback")

    def broken_hook(*_):
        raise RuntimeError("hook is broken")

    @lightweight(name="speaking", on_completion=[broken_hook])
    async def speaking(execution_id):
        get_run_logger().info("flow %s", execution_id)
        await speaks(1)
        await asyncio.to_thread(speaks_too, 2)
        await prints()
        with pytest.raises(ValueError, match="secret"):
            await fails()

    with caplog.at_level(logging.INFO):
        async with embedded():
            await run_flow(speaking, "e-7", "n")
    messages = [r.getMessage() for r in caplog.records if r.name.startswith("prefect.")]
    assert [m for m in messages if "hook" not in m] == [
        "flow e-7",
        "async task 1",
        "sync task 2",
        "a printed line",
    ]
    assert any("error was encountered while running hook 'broken_hook'" in m for m in messages)


async def test_an_unhandled_cancellation_is_raised_and_the_flow_run_is_removed():
    started = asyncio.Event()

    @lightweight(name="endless")
    async def endless(execution_id):
        started.set()
        await asyncio.Event().wait()

    async with embedded() as client:
        running = asyncio.create_task(run_flow(endless, "e", "n"))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert len(client) == 0


async def test_a_flow_whose_id_cannot_be_stored_does_not_start(monkeypatch):
    states = []
    original = EmbeddedPrefectClient.set_flow_run_state

    async def record(self, flow_run_id, state, force=False):
        states.append(state.name)
        return await original(self, flow_run_id, state, force)

    monkeypatch.setattr(EmbeddedPrefectClient, "set_flow_run_state", record)

    @lightweight(name="never")
    async def never(execution_id):
        raise AssertionError("started")

    async def lost(_flow_run_id):
        raise LookupError("the lease is lost")

    async with embedded() as client:
        with pytest.raises(LookupError, match="the lease is lost"):
            await run_flow(never, "e", "n", lost)
        assert len(client) == 0
    assert states == ["Crashed"]  # with a server, it would stay pending


@pytest.mark.parametrize("error", [Abort("deleted in the UI"), ConnectionError("server is gone")])
async def test_an_unavailable_server_results_in_a_crashed_state(monkeypatch, error):
    async def refuse(*_args, **_kwargs):
        raise error

    async with embedded() as client:
        monkeypatch.setattr(EmbeddedPrefectClient, "set_flow_run_state", refuse)
        state = await run_flow(one_of_each, "e", "n")
        assert len(client) == 0
    assert state.is_crashed()
    assert str(error) in (state.message or "")


async def test_features_of_a_server_raise_a_clear_error(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # a proxy must not be used
    async with embedded() as client:
        with pytest.raises(PrefectServerNeededError) as caught:
            await client.read_deployment_by_name("a/b")
        assert str(caught.value) == (
            "Prefect's read_deployment_by_name() needs a Prefect server (set PREFECT_API_URL)"
        )
        with pytest.raises(PrefectServerNeededError, match="PREFECT_API_URL"):
            await client._client.get("/health")  # without the client's methods
        sync_client = get_client(sync_client=True)
        assert isinstance(sync_client, EmbeddedSyncPrefectClient)
        with pytest.raises(PrefectServerNeededError, match="read_flow_runs"):
            sync_client.read_flow_runs()
        with pytest.raises(PrefectServerNeededError, match="GET"):
            sync_client._client.get("/health")


async def test_a_nested_flow_raises_an_error_about_the_server():
    @lightweight(name="inner")
    async def inner():
        """Never reached."""

    @lightweight(name="outer")
    async def outer(execution_id):
        await inner()

    async with embedded():
        state = await run_flow(outer, "e", "n")
    assert state.is_failed()
    assert "needs a Prefect server (set PREFECT_API_URL)" in (state.message or "")


async def test_a_flow_outside_the_context_starts_no_server(monkeypatch):
    close_the_network(monkeypatch)
    with pytest.raises(RuntimeError, match="inside prefect_context"):
        await run_flow(one_of_each, "e", "n")


def test_flows_in_a_thread_keep_the_sigterm_handler():
    handlers = []

    @lightweight(name="threaded")
    async def threaded(execution_id):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return await double(4)

    async def main():
        async with embedded():
            context = contextvars.copy_context()
            # Like the worker, which starts tasks in a copy of the context.
            run = run_flow(threaded, "e", "n")
            return await asyncio.get_running_loop().create_task(run, context=context)

    def mine(*_):
        """The handler that must be kept."""

    states = []
    before = signal.signal(signal.SIGTERM, mine)
    try:
        thread = threading.Thread(target=lambda: states.append(asyncio.run(main())))
        thread.start()
        thread.join(20)
        handlers.append(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert states[0].is_completed()
    assert handlers == [mine, mine]
