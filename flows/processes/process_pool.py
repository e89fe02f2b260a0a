"""Process pool: starts the execution processes of a service, and replaces those that end."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import cast

import structlog

from database.executions.queue import Queue
from engine.json_values import JsonValue
from flows.execution.running_nodes import NODE_CANCEL_TIMEOUT_SECONDS
from flows.nodes.preview import NodePreview
from flows.nodes.progress import Publish
from flows.processes.child_process import ChildProcess, exit_reason
from flows.processes.messages import Kind, Message, large_message_frame
from flows.storage_retry import retry_while_unavailable
from flows.worker.state import WorkerState
from flows.worker.worker import (
    CLAIM_TIMEOUT_SECONDS,
    RELEASE_TIMEOUT_SECONDS,
    THREAD_JOIN_TIMEOUT_SECONDS,
)
from metric_families import Family, counted, sum_families

log = structlog.get_logger()

MIN_RESTART_PAUSE_SECONDS = 0.1
"""Pause before the first restart, in seconds; it doubles with each further one."""
MAX_RESTART_PAUSE_SECONDS = 30.0
CLAIM_LEAD_SECONDS = 0.005
"""Time in which one process may claim a new execution before the others try it, in seconds."""
STABLE_SECONDS = 60.0
"""Lifetime of a process, in seconds, after which its end is not a repeated failure."""
STOP_TIMEOUT_SECONDS = (
    CLAIM_TIMEOUT_SECONDS
    + NODE_CANCEL_TIMEOUT_SECONDS
    + RELEASE_TIMEOUT_SECONDS
    + THREAD_JOIN_TIMEOUT_SECONDS
    + 5.0
)
"""Timeout for the end of a process, in seconds, in addition to the time for running nodes."""
METRICS_TIMEOUT_SECONDS = 1.0
"""Timeout for the metrics of a process, in seconds; then its last ones are used."""
READY_TIMEOUT_SECONDS = 30.0
"""Timeout for a process that can run a single node, in seconds."""


class ProcessPool:
    """The execution processes. Used in the worker's event loop, except ``failure``.

    Args:
        settings: The pickled settings of each process.
        publish: Publishes the parts of a node's output.
        committed: Notifies the streams of committed events.
    """

    def __init__(
        self, settings: Sequence[bytes], publish: Publish, committed: Callable[[], object]
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._committed = committed
        self._children: dict[int, ChildProcess] = {}
        self._supervisors: list[asyncio.Task[None]] = []
        self._state = WorkerState()
        self._stopping = False
        self._ready = asyncio.Event()
        self._turns = itertools.count()
        self._later_claims: asyncio.TimerHandle | None = None
        self._run_ids = itertools.count()
        self._node_runs: dict[int, tuple[ChildProcess, asyncio.Future[Message]]] = {}
        self._families: dict[ChildProcess, list[Family]] = {}
        self._collected: dict[ChildProcess, asyncio.Event] = {}
        self._ended_families: list[Family] = []

    # Signals

    def request_claims(self) -> None:
        """Let one process claim executions now, and the others shortly after it.

        If all of them claimed at once, they would wait for the same lock, and all but one for
        nothing. The processes take turns, so that each of them gets executions.
        """
        ready = [child for child in self._children.values() if child.is_ready]
        if not ready or self._stopping:
            return
        first = ready[next(self._turns) % len(ready)]
        first.wake(Kind.CLAIM)

        def wake_others() -> None:
            self._later_claims = None
            self._wake(Kind.CLAIM)

        if len(ready) > 1 and self._later_claims is None:
            loop = asyncio.get_running_loop()
            self._later_claims = loop.call_later(CLAIM_LEAD_SECONDS, wake_others)

    def request_polls(self) -> None:
        """Let every process look for cancellations and resumptions now."""
        self._wake(Kind.POLL)

    def _wake(self, kind: Kind, except_for: ChildProcess | None = None) -> None:
        for child in self._children.values():
            if child.is_ready and child is not except_for:
                child.wake(kind)

    @property
    def failure(self) -> str | None:
        """The reason why no execution can run now. Thread-safe."""
        if any(child.is_ready for child in list(self._children.values())):
            return None
        return "no execution process is running"

    # Supervision

    async def run_forever(self, queue: Queue, state: WorkerState) -> None:
        """Start the processes, and replace each one that ends, until ``stop``."""
        self._state = state
        async with asyncio.TaskGroup() as group:
            self._supervisors = [
                group.create_task(self._supervise(number, queue))
                for number in range(len(self._settings))
            ]
            relatives = group.create_task(self._forward_polls(state))
            await asyncio.wait(self._supervisors)
            relatives.cancel()

    async def stop(self, grace_seconds: float) -> None:
        """Stop the processes; each waits ``grace_seconds`` for its running nodes."""
        self._stopping = True
        for child in self._children.values():
            child.stop(grace_seconds)
        if not self._supervisors:
            return
        timeout = grace_seconds + STOP_TIMEOUT_SECONDS
        _, unfinished = await asyncio.wait(self._supervisors, timeout=timeout)
        for child in self._children.values():
            log.warning("execution_process_killed", process=child.pid)
            child.kill()
        if unfinished:
            await asyncio.wait(unfinished, timeout=STOP_TIMEOUT_SECONDS)

    async def _forward_polls(self, state: WorkerState) -> None:
        while True:
            await state.relatives_changed.wait()
            state.relatives_changed.clear()
            self.request_polls()

    async def _supervise(self, number: int, queue: Queue) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping:
            started = loop.time()
            reason = await self._run_child(number, queue)
            if self._stopping:
                return
            if loop.time() - started >= STABLE_SECONDS:
                failures = 0
            pause = min(MAX_RESTART_PAUSE_SECONDS, MIN_RESTART_PAUSE_SECONDS * 2.0**failures)
            failures = min(failures + 1, 20)
            log.error(
                "execution_process_ended", number=number, reason=reason, restart_in_seconds=pause
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._state.drained.wait()

    async def _run_child(self, number: int, queue: Queue) -> str:
        """Run a process until it ends; return the reason."""
        try:
            child = await ChildProcess.start(number, self._settings[number])
        except OSError as error:
            return f"it cannot be started: {error}"
        self._children[number] = child
        if self._stopping:
            child.stop(0)
        try:
            reason = exit_reason(await child.run(self._on_message))
        except Exception as error:
            log.exception("execution_process_failed", process=child.pid)
            reason = f"its messages could not be read: {error}"
        finally:
            child.kill()
            self._forget(child)
        if child.owners:
            # The process cannot write any more, so that its executions need not wait for the end
            # of their leases.
            await retry_while_unavailable(
                lambda: queue.expire(child.owners), "lease_end", lambda: self._stopping
            )
            self.request_claims()
        return reason

    def _forget(self, child: ChildProcess) -> None:
        self._children.pop(child.number, None)
        families = [self._ended_families, counted(self._families.pop(child, []))]
        self._ended_families = sum_families(families)
        if collected := self._collected.pop(child, None):
            collected.set()
        for owner, result in list(self._node_runs.values()):
            if owner is child and not result.done():
                error = "the process that ran the node has ended; see the service log"
                result.set_result({"result": None, "error": error})
        if not any(other.is_ready for other in self._children.values()):
            self._ready.clear()

    def _on_message(self, child: ChildProcess, message: Message) -> None:
        match message["kind"]:
            case Kind.COMMITTED:
                self._committed()
            case Kind.ENDED:
                self._state.execution_ended.set()
            case Kind.PUBLISH:
                self._publish(message["executionId"], message["message"])
            case Kind.RELATIVES_CHANGED:
                self._wake(Kind.POLL, except_for=child)
            case Kind.OWNER:
                log.info("execution_process_started", number=child.number, process=child.pid)
                self._ready.set()
            case Kind.METRICS:
                self._families[child] = message["families"]
                if collected := self._collected.pop(child, None):
                    collected.set()
            case Kind.NODE_ENDED:
                _, result = self._node_runs[message["id"]]
                if not result.done():
                    result.set_result(message)
            case unknown:
                raise ValueError(f"unknown message {unknown!r}")

    # Requests

    async def run_preview(self, preview: NodePreview) -> None:
        """Run a single node in one of the processes, and set its result or its error."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            preview.error = f"{self.failure}; try again"
            return
        ready = [child for child in self._children.values() if child.is_ready]
        child = min(ready, key=lambda one: one.node_runs)
        run_id = next(self._run_ids)
        result: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._node_runs[run_id] = (child, result)
        child.node_runs += 1
        try:
            fields = {"id": run_id, "node": asdict(preview.node), "inputData": preview.input_data}
            child.write(await large_message_frame(Kind.RUN_NODE, **fields))
            message = await result
        finally:
            child.node_runs -= 1
            del self._node_runs[run_id]
        preview.result = cast("Mapping[str, JsonValue] | None", message["result"])
        preview.error = message["error"]

    async def families(self) -> list[Family]:
        """Return the sum of the metrics of all processes, also of those that have ended."""
        requested: list[asyncio.Event] = []
        for child in self._children.values():
            if child.is_ready:
                child.wake(Kind.COLLECT)
                requested.append(self._collected.setdefault(child, asyncio.Event()))
        with suppress(TimeoutError):
            async with asyncio.timeout(METRICS_TIMEOUT_SECONDS):
                await _all_set(requested)
        return sum_families([self._ended_families, *self._families.values()])


async def _all_set(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
