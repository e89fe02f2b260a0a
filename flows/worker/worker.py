"""Worker: claims executions and runs them, in a thread with its own event loop.

The thread has two reasons: Prefect replaces the SIGTERM handler of the process for flows of the
main thread, and requests must not wait for running executions.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from database import Database
from database.executions.journal_records import ExecutionResult
from database.executions.queue import ClaimedExecution
from engine.errors import LeaseLostError, StorageError, TooManyPreviewsError
from engine.json_values import JsonValue
from engine.limits import DocumentLimits, RunLimits
from engine.status import ExecutionStatus
from flows.callbacks.dispatcher import CallbackSettings, dispatch_callbacks_forever
from flows.execution.executor import NODE_CANCEL_TIMEOUT_SECONDS
from flows.execution.signals import ExecutionSignals, StopReason
from flows.nodes.node_runner import NodeRunner
from flows.nodes.preview import NodePreview, node_preview_flow, prepare_preview, run_preview
from flows.nodes.progress import Publish, publish_nowhere
from flows.nodes.subworkflows import SubworkflowCaller
from flows.prefect_adapter.runs import (
    crash_flow_run,
    local_result_storage,
    prefect_context,
    run_flow,
)
from flows.storage_retry import retry_while_unavailable
from flows.worker.heartbeat import listen, renew_leases_forever
from flows.worker.maintenance import run_maintenance_forever
from flows.workflow_flow import ExecutionContext, current_execution, workflow_flow
from tasks.context import HandlerSettings
from tasks.registry import NodeTypes
from tasks.secrets import Secrets

log = structlog.get_logger()

T = TypeVar("T")

THREAD_JOIN_TIMEOUT_SECONDS = 5.0
"""Timeout for the end of the thread after all executions were released."""
CLAIM_TIMEOUT_SECONDS = 10.0
"""Timeout for a claim in progress when the service stops."""
RELEASE_TIMEOUT_SECONDS = 5.0
"""Timeout for the release of the executions when the service stops."""
PREFECT_RETRY_DELAY_SECONDS = 5.0
"""How long an execution waits when Prefect could not take its flow run."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of the worker; the composition root fills them in."""

    max_concurrent_executions: int
    max_recovery_attempts: int
    max_subworkflow_depth: int
    max_subworkflow_executions: int
    max_concurrent_node_previews: int
    document_limits: DocumentLimits
    run_limits: RunLimits
    execution_timeout_seconds: float | None
    lease_seconds: float
    poll_interval_seconds: float
    retention_days: float | None
    retention_count: int | None
    prefect_api_url: str | None
    prefect_home: Path
    handler_settings: HandlerSettings
    callbacks: CallbackSettings


class Worker:
    """Runs executions from ``start`` to ``stop``. Its methods may be called from any thread."""

    def __init__(
        self,
        settings: WorkerSettings,
        node_types: NodeTypes,
        database: Database,
        publish: Publish = publish_nowhere,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._database = database.for_another_loop()
        self._node_types = node_types
        self._owner = str(uuid4())
        self._active: dict[str, ExecutionSignals] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run_thread, name="flows", daemon=True)
        self._ready: Future[None] = Future()
        self._previews = threading.BoundedSemaphore(settings.max_concurrent_node_previews)
        self._stopping = False

    def start(self) -> Future[None]:
        """Starts the thread. The answer is done when it takes work, or holds why it cannot."""
        self._thread.start()
        return self._ready

    @property
    def secrets(self) -> Secrets:
        """Secrets that configs may name."""
        return self._settings.handler_settings.secrets

    def wake(self) -> None:
        """There is a new execution: claim it now, not at the next poll."""
        self._call(lambda: self._wake.set())  # noqa: PLW0108 - there is no such event before the thread runs

    def cancel(self, execution_id: str) -> None:
        """Stops an execution that runs here; the request for it is in the journal already."""

        def stop() -> None:
            if control := self._active.get(execution_id):
                control.stop(StopReason.CANCEL)
            self._ended.set()  # one that nobody ran has ended already
            self._hear()  # what it called is cancelled, and its caller goes on

        self._call(stop)

    def notify_resumed(self, execution_id: str) -> None:
        """There is an answer for a node of this execution that waits."""

        def notify_resumed() -> None:
            if control := self._active.get(execution_id):
                control.notify_resumed()
            self._wake.set()

        self._call(notify_resumed)

    async def preview_node(
        self,
        node_id: str,
        node_type: str,
        node: Mapping[str, JsonValue],
        input_data: JsonValue,
    ) -> NodePreview:
        """Runs one node alone, now; the trial holds its result or its error.

        Raises:
            UnknownNodeTypeError: no handler is registered for ``node_type``.
            TooManyPreviewsError: If MAX_CONCURRENT_NODE_PREVIEWS nodes run already.
        """
        runner = NodeRunner(
            self._node_types, self._settings.handler_settings, limits=self._settings.run_limits
        )
        trial = await prepare_preview(runner, node_id, node_type, node, input_data)

        async def run() -> None:
            try:
                await run_preview(trial, self._client)
            finally:
                # Here, because the node continues to run when its caller goes away.
                self._previews.release()

        if trial.error is None:
            if not self._previews.acquire(blocking=False):
                raise TooManyPreviewsError(self._settings.max_concurrent_node_previews)
            await asyncio.wrap_future(self._submit(run))
        return trial

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more, gives nodes in flight their time, puts the rest into the queue."""
        if self._thread.is_alive() and not self._ready.exception():
            await asyncio.wrap_future(self._submit(lambda: self._drain(grace_seconds)))
        await asyncio.to_thread(self._thread.join, THREAD_JOIN_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            log.warning("handlers_abandoned")

    def _call(self, function: Callable[[], object]) -> None:
        if self._thread.is_alive() and self._ready.done():
            with suppress(RuntimeError):  # between two loops; the next poll sees to it
                self._loop.call_soon_threadsafe(function)

    def _submit(self, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Runs a coroutine in the flows' loop and context; contexts do not cross threads alone."""
        future: Future[T] = Future()

        async def run() -> None:
            try:
                future.set_result(await coroutine())
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                future.set_exception(error)

        def spawn() -> None:
            task = self._loop.create_task(run(), context=self._context.copy())
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

        self._loop.call_soon_threadsafe(spawn)
        return future

    def _run_thread(self) -> None:
        """Runs the loop, and a new one if it dies: a service that accepts must also carry out."""
        while True:
            try:
                asyncio.run(self._main())
            except BaseException as error:
                if not self._ready.done():
                    self._ready.set_exception(error)
                    return
                log.critical("worker_crashed", exc_info=True)
            if self._stopping:
                return
            # What the dead loop held is recovered like any dead owner's, when its leases ran out.
            self._owner = str(uuid4())
            self._active.clear()
            self._carrying.clear()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._look = asyncio.Event()
        self._drained = asyncio.Event()
        for flow in (workflow_flow, node_preview_flow):
            local_result_storage(flow, self._settings.prefect_home)
        try:
            async with prefect_context(self._settings.prefect_api_url) as client:
                self._client = client
                self._context = contextvars.copy_context()
                lease, poll = self._settings.lease_seconds, self._settings.poll_interval_seconds
                here = (self._database, self._owner, self._active)
                beat = asyncio.create_task(renew_leases_forever(*here, lease))
                ears = asyncio.create_task(listen(*here, self._look, poll))
                claims = self._claims = asyncio.create_task(self._claim_forever())
                days, count = self._settings.retention_days, self._settings.retention_count
                house = asyncio.create_task(run_maintenance_forever(self._database, days, count))
                post = asyncio.create_task(self._deliver_callbacks())
                if not self._ready.done():
                    self._ready.set_result(None)
                await self._drained.wait()
                for task in (beat, ears, claims, house, post):
                    task.cancel()
                await asyncio.gather(beat, ears, claims, house, post, return_exceptions=True)
        finally:
            await self._database.close()

    async def _claim_forever(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self._look_for_work()
            except StorageError as error:
                log.warning("database_unavailable", operation="claim", reason=str(error))
            except Exception:
                log.exception("claim_failed")
            try:
                async with asyncio.timeout(self._settings.poll_interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look_for_work(self) -> None:
        free = max(0, self._settings.max_concurrent_executions - len(self._active))
        # The last attempt is made alone, so that it charges nobody else.
        isolate_after = max(1, self._settings.max_recovery_attempts - 1)
        for run in await self._database.queue.claim(
            self._owner, free, self._settings.lease_seconds, list(self._active), isolate_after
        ):
            self._begin(run)

    def _begin(self, run: ClaimedExecution) -> None:
        control = self._active[run.lease.execution_id] = ExecutionSignals(self._hear)
        if self._stopping:
            control.drain()
        task = asyncio.create_task(self._carry(run, control))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, run: ClaimedExecution, control: ExecutionSignals) -> None:
        """One claimed execution, until it has ended or is somebody else's to go on with."""
        execution_id = run.lease.execution_id
        structlog.contextvars.bind_contextvars(execution_id=execution_id)
        calls = SubworkflowCaller(
            self._database,
            self._node_types,
            self._settings.max_subworkflow_depth,
            self._settings.max_subworkflow_executions,
            self._settings.document_limits,
        )
        node_runner = NodeRunner(
            self._node_types,
            self._settings.handler_settings,
            execution_id,
            calls=calls,
            limits=self._settings.run_limits,
        )
        carrier = ExecutionContext(run.lease, self._database, node_runner, control, self._publish)
        current_execution.set(carrier)
        name = f"{run.workflow_name} {execution_id}"
        log.info("execution_claimed", workflow=run.workflow_name)

        async def link(flow_run_id: str) -> None:
            await self._database.queue.link_flow_run(run.lease, flow_run_id)

        limit = self._settings.execution_timeout_seconds
        timer = None
        if limit is not None:
            timer = self._loop.call_later(limit, control.stop, StopReason.TIMEOUT)
        try:
            if run.recoveries >= self._settings.max_recovery_attempts:
                await self._give_up(carrier, run.recoveries)
            else:
                if run.recoveries and run.last_flow_run_id:
                    await crash_flow_run(self._client, run.last_flow_run_id)
                await run_flow(workflow_flow, execution_id, name, self._client, link)
        except Exception as error:  # noqa: BLE001 - Prefect's, or a bug: the execution outlives it
            log.warning("flow_run_failed", reason=f"{type(error).__name__}: {error}")
        try:
            await self._settle(carrier)
        finally:
            if timer:
                timer.cancel()
            del self._active[execution_id]
            self._wake.set()
            self._ended.set()
            self._tell_family(carrier)

    def _hear(self) -> None:
        """There is something to claim, to cancel or to go on with, which an execution set off."""
        self._wake.set()
        self._look.set()

    def _tell_family(self, carrier: ExecutionContext) -> None:
        """Has those here hear at once, not at the next poll, that an execution has ended."""
        if parent := self._active.get(carrier.parent_id or ""):
            parent.notify_resumed()
        ending = carrier.outcome
        if isinstance(ending, ExecutionResult) and ending.status != ExecutionStatus.COMPLETED:
            self._look.set()  # what it called is cancelled

    async def _give_up(self, carrier: ExecutionContext, recoveries: int) -> None:
        """Ends an execution that has brought its owners down, instead of trying it once more."""
        error = (
            f"The service went down {recoveries} times while it ran this execution, "
            "without a node of it ending in between (MAX_RECOVERY_ATTEMPTS)"
        )
        await retry_while_unavailable(
            lambda: self._database.journal.abandon(carrier.lease, error),
            "poisoned_execution_failure",
            lambda: self._stopping,
        )
        carrier.outcome = ExecutionResult(ExecutionStatus.FAILED, error=error)

    async def _settle(self, carrier: ExecutionContext) -> None:
        """What an execution whose flow run is over becomes, if its walk did not end it."""
        if isinstance(carrier.outcome, ExecutionResult):
            log.info("execution_finished", status=carrier.outcome.status)
            return
        if carrier.outcome == StopReason.LEASE_LOST:
            log.warning("lease_lost")
        if carrier.outcome in (StopReason.LEASE_LOST, StopReason.PARKED):
            return
        delay = 0.0 if carrier.outcome == StopReason.SHUTDOWN else PREFECT_RETRY_DELAY_SECONDS
        queue = self._database.queue
        try:
            await retry_while_unavailable(
                lambda: queue.release(carrier.lease, delay),
                "execution_release",
                lambda: self._stopping,
            )
            log.info("execution_released", delay_seconds=delay)
        except (LeaseLostError, StorageError) as error:
            # Its lease runs out by itself; whoever claims it then goes on with it.
            log.warning("execution_release_failed", reason=str(error))

    async def _deliver_callbacks(self) -> None:
        lease, poll = self._settings.lease_seconds, self._settings.poll_interval_seconds
        await dispatch_callbacks_forever(
            self._database, self._settings.callbacks, self._ended, lease, poll
        )

    async def _drain(self, grace_seconds: float) -> None:
        self._stopping = True
        self._wake.set()
        for control in self._active.values():
            control.drain()
        # What it is about to claim is to be settled too: its lease would be left to run out.
        await asyncio.wait([self._claims], timeout=CLAIM_TIMEOUT_SECONDS)
        mine = asyncio.current_task()
        left = {task for task in self._carrying if task is not mine}
        if left:
            log.info("shutdown_draining", count=len(left), seconds=grace_seconds)
            _, left = await asyncio.wait(left, timeout=grace_seconds)
        for control in self._active.values():
            control.stop(StopReason.SHUTDOWN)
        if left:
            await asyncio.wait(left, timeout=NODE_CANCEL_TIMEOUT_SECONDS + RELEASE_TIMEOUT_SECONDS)
        self._drained.set()
