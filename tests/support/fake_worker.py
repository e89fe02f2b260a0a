"""Fake worker: a worker in the event loop of a test, without a thread, a flow or a database."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config import Settings
from database.executions.queue import Queue
from flows.execution.signals import ExecutionSignals
from flows.worker import worker as module
from flows.worker.roles import WHOLE_SERVICE, WorkerRole
from flows.worker.state import WorkerState
from flows.worker.worker import Worker
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.scripted_database import ScriptedDatabase
from worker_setup import worker_settings

Patch = pytest.MonkeyPatch
SLOTS = 3


class FakeThread:
    """The thread of a worker, which runs in the event loop of the test."""

    def __init__(self) -> None:
        self.accepts_work = True
        self.is_ready = False
        self.restarts = True
        self.joins: list[float] = []
        self.ends_in_time = True
        self.submitted: set[asyncio.Task[Any]] = set()

    def call(self, function: Callable[[], object]) -> None:
        function()

    def submit(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        future: Future[Any] = Future()
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda done: future.set_result(done.result()))
        return future

    def submitted_tasks(self) -> set[asyncio.Task[Any]]:
        return self.submitted

    def disable_restart(self) -> None:
        self.restarts = False

    def mark_ready(self) -> None:
        self.is_ready = True

    async def join(self, timeout_seconds: float) -> bool:
        self.joins.append(timeout_seconds)
        return self.ends_in_time


class FakeExecutors:
    """Records the requests to execution processes, which need a second to stop."""

    def __init__(self) -> None:
        self.claims = 0
        self.stopped: list[float] = []

    def request_claims(self) -> None:
        self.claims += 1

    def request_polls(self) -> None:
        raise AssertionError

    async def run_forever(self, queue: Queue, state: WorkerState) -> None:
        del queue, state
        await asyncio.Event().wait()

    async def stop(self, grace_seconds: float) -> None:
        await asyncio.sleep(1)
        self.stopped.append(grace_seconds)


class FakeRelay:
    """The connection to a service; it can fail."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.states: list[WorkerState] = []

    async def run_forever(self, state: WorkerState) -> None:
        self.states.append(state)
        await asyncio.sleep(50)
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()


class FakeWorker:
    """A worker with ``SLOTS`` slots and without a thread."""

    def __init__(
        self, monkeypatch: Patch, role: WorkerRole = WHOLE_SERVICE, **answers: list[Any]
    ) -> None:
        self.database = ScriptedDatabase(**answers)
        self.closed = 0
        cast("Any", self.database).for_another_loop = lambda: self.database
        cast("Any", self.database).close = self._close
        values: dict[str, Any] = {
            "_env_file": None,
            "max_concurrent_executions": SLOTS,
            "poll_interval_seconds": 2.0,
        }
        self.settings = worker_settings(Settings(**values))
        self.worker = Worker(self.settings, PROBE_TYPES, self.database.typed, role=role)
        self.thread = FakeThread()
        self.worker._thread = cast("Any", self.thread)
        self.state = self.worker._state
        self.started: list[Any] = []
        starter = SimpleNamespace(
            database=self.database, start=lambda claimed, _state: self.started.append(claimed)
        )
        self.worker._starter = cast("Any", starter)

        @asynccontextmanager
        async def prefect_context(_: str | None) -> AsyncGenerator[None]:
            yield

        monkeypatch.setattr(module, "prefect_context", prefect_context)

    async def _close(self) -> None:
        self.closed += 1

    def run(self, execution_id: str, seconds: float) -> ExecutionSignals:
        """Run an execution that ends after some seconds, or when it is stopped."""
        signals = self.state.active[execution_id] = ExecutionSignals()

        async def work() -> None:
            end = asyncio.get_running_loop().time() + seconds
            while signals.reason is None and now() < end:
                stop = asyncio.ensure_future(signals.wait_for_signal())
                await asyncio.wait([stop], timeout=end - now())
                stop.cancel()

        task = asyncio.ensure_future(work())
        self.state.tasks.add(task)
        return signals

    def block(self, seconds: float) -> None:
        """Run an execution whose handlers do not react to a stop."""
        self.state.active["blocked"] = ExecutionSignals()
        self.state.tasks.add(asyncio.ensure_future(asyncio.sleep(seconds)))

    async def stop(self, grace_seconds: float = 5) -> None:
        await self.worker.stop(grace_seconds)


def now() -> float:
    return asyncio.get_running_loop().time()


def flags(state: WorkerState) -> set[str]:
    names = ("claim_requested", "poll_requested", "execution_ended", "relatives_changed")
    return {name for name in names if getattr(state, name).is_set()}
