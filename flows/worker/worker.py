"""Worker: claims executions and runs them, in a thread with its own event loop.

The thread has two reasons: Prefect replaces the SIGTERM handler of the process for flows of the
main thread, and requests must not wait for running executions.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from database import Database
from flows.callbacks.dispatcher import dispatch_callbacks_forever
from flows.execution.running_nodes import NODE_CANCEL_TIMEOUT_SECONDS
from flows.execution.signals import StopReason
from flows.nodes.permits import grant_permits_forever
from flows.nodes.preview import node_preview_flow
from flows.nodes.progress import Publish, publish_nowhere
from flows.prefect_adapter.runs import local_result_storage, prefect_context
from flows.schedules.scheduler import Scheduler
from flows.worker.assigned_runs import AssignedRuns
from flows.worker.claim_loop import Claim, ClaimLoop
from flows.worker.commits import follow_commits
from flows.worker.dispatcher import Dispatcher
from flows.worker.execution_starter import ExecutionStarter
from flows.worker.heartbeat import renew_leases_forever
from flows.worker.loop_thread import LoopThread
from flows.worker.maintenance import run_maintenance_forever
from flows.worker.poller import poll_signals_forever
from flows.worker.roles import WHOLE_SERVICE, WorkerRole
from flows.worker.slot_release import release_slots_forever
from flows.worker.state import WorkerSettings, WorkerState, set_execution_limits
from flows.worker.task_timers import run_task_timers_forever
from flows.workflow_flow import workflow_flow
from metrics import UNOBSERVED, Metrics
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


class Worker:
    """Runs executions from ``start`` to ``stop``. Its methods may be called from any thread."""

    def __init__(
        self,
        settings: WorkerSettings,
        node_types: NodeTypes,
        database: Database,
        publish: Publish = publish_nowhere,
        metrics: Metrics = UNOBSERVED,
        role: WorkerRole = WHOLE_SERVICE,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._node_types = node_types
        self._database = database.for_another_loop()
        set_execution_limits(self._database, settings)
        self._state = WorkerState()
        self._starter = ExecutionStarter(
            settings, node_types, self._database, publish, metrics, lambda: self._stopping
        )
        self._role = role
        self._thread = LoopThread("flows", self._main)
        self._stopping = False

    def start(self) -> Future[None]:
        """Start the thread. The future is done when executions are claimed, or has the error."""
        return self._thread.start()

    @property
    def secrets(self) -> Secrets:
        """Secrets that configs may refer to."""
        return self._settings.handler_settings.secrets

    @property
    def accepts_work(self) -> bool:
        """Whether the thread runs and no stop was requested."""
        return self._thread.accepts_work and not self._stopping

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended."""
        return self._thread.has_ended

    def wake(self) -> None:
        """Claim a new execution now, not at the next poll."""
        self._thread.call(lambda: self._state.claim_requested.set())  # noqa: PLW0108 - a restart replaces the state

    def cancel(self, execution_id: str) -> None:
        """Stop an execution if it runs in this worker; the journal contains the request already."""

        def stop() -> None:
            if signals := self._state.active.get(execution_id):
                signals.stop(StopReason.CANCEL)
            self._state.execution_ended.set()  # An execution without an owner has ended already.
            self._state.on_children_changed()

        self._thread.call(stop)

    def notify_resumed(self, execution_id: str) -> None:
        """Continue an execution, because one of its waiting nodes was resumed."""

        def notify() -> None:
            if signals := self._state.active.get(execution_id):
                signals.notify_resumed()
            self._state.claim_requested.set()
            self._state.relatives_changed.set()

        self._thread.call(notify)

    def poll(self) -> None:
        """Claim, and look for cancellations and resumptions, now and not at the next poll."""
        self._thread.call(lambda: self._state.request_poll())  # noqa: PLW0108 - as in ``wake``

    def submit(self, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine in the worker's loop and Prefect context.

        Raises:
            RuntimeError: If the loop does not run.
        """
        return self._thread.submit(coroutine)

    async def stop(self, grace_seconds: float) -> None:
        """Stop claiming, wait ``grace_seconds`` for running nodes, and release the executions."""
        if self._thread.accepts_work:
            await asyncio.wrap_future(self._thread.submit(lambda: self._drain(grace_seconds)))
        if not await self._thread.join(THREAD_JOIN_TIMEOUT_SECONDS):
            log.warning("handlers_abandoned")

    async def _main(self) -> None:
        state = self._state = WorkerState()
        settings, database = self._settings, self._database
        lease, poll, role = settings.lease_seconds, settings.poll_interval_seconds, self._role
        claims = ClaimLoop(
            database,
            state,
            self._claim(database),
            lambda: self._stopping,
            poll,
            # The dispatcher also repeats requests to Prefect's server.
            uses_due_times=settings.prefect_work_pool is None,
        )
        for flow in (workflow_flow, node_preview_flow):
            local_result_storage(flow, settings.prefect_home)
        try:
            async with prefect_context(settings.prefect_api_url), asyncio.TaskGroup() as group:
                background = [
                    group.create_task(work)
                    for work in (
                        *self._work_of_role(state),
                        renew_leases_forever(
                            database,
                            state.owner,
                            state.active,
                            lease,
                            is_limited=bool(settings.execution_limits),
                        ),
                        grant_permits_forever(database, state.permit_waits, lease, poll),
                        release_slots_forever(database, state, settings.max_concurrent_executions),
                        poll_signals_forever(database, state, poll, settles=role.relay is None),
                        claims.run(),
                        follow_commits(
                            database,
                            state,
                            is_shared=settings.database_notifications,
                            is_limited=bool(settings.execution_limits),
                        ),
                        self._metrics.measure_loop_lag_forever("flows"),
                    )
                ]
                if role.poll_pool is not None:
                    runs = AssignedRuns(self._starter, state)
                    state.pool_polling = group.create_task(role.poll_pool(runs))
                self._thread.mark_ready()
                await state.drained.wait()
                for task in background:
                    task.cancel()
        finally:
            await database.close()

    def _work_of_role(self, state: WorkerState) -> list[Coroutine[Any, Any, None]]:
        """Return the work in addition to running executions."""
        settings, database, role = self._settings, self._database, self._role
        if role.relay is not None:
            return [role.relay.run_forever(state)]
        executors = role.executors
        return [
            *([] if executors is None else [executors.run_forever(database.queue, state)]),
            run_maintenance_forever(database, settings.retention_days, settings.retention_count),
            dispatch_callbacks_forever(
                database,
                settings.callbacks,
                state.execution_ended,
                settings.lease_seconds,
                settings.poll_interval_seconds,
                self._metrics,
            ),
            run_task_timers_forever(
                database, settings.poll_interval_seconds, state.execution_ended.set
            ),
            Scheduler(
                database, self._node_types, settings.scheduler, state.on_children_changed
            ).run_forever(),
        ]

    def _claim(self, database: Database) -> Claim:
        """Return the function that lets claimable executions run."""
        if self._settings.prefect_work_pool is not None:
            return Dispatcher(database, self._settings).dispatch_due
        return self._claim_available

    async def _claim_available(self, state: WorkerState) -> None:
        settings = self._settings
        if self._role.executors is not None:
            self._role.executors.request_claims()
            return
        free = max(0, settings.max_concurrent_executions - len(state.active))
        # The last attempt runs in isolation, so that a crash affects no other execution.
        isolate_after = max(1, settings.max_recovery_attempts - 1)
        for claimed in await self._database.queue.claim(
            state.owner, free, settings.lease_seconds, list(state.active), isolate_after
        ):
            self._starter.start(claimed, state)

    async def _drain(self, grace_seconds: float) -> None:
        self._stopping = True
        self._thread.disable_restart()
        state = self._state
        state.claim_requested.set()
        if state.pool_polling is not None:
            state.pool_polling.cancel()
        for signals in state.active.values():
            signals.drain()
        executors_stopped = None
        if self._role.executors is not None:
            executors_stopped = asyncio.ensure_future(self._role.executors.stop(grace_seconds))
        # The last claim must end first, because its executions must be released too.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLAIM_TIMEOUT_SECONDS):
                await state.claims_ended.wait()
        unfinished = state.tasks | self._thread.submitted_tasks()
        if unfinished:
            log.info("shutdown_draining", count=len(unfinished), seconds=grace_seconds)
            _, unfinished = await asyncio.wait(unfinished, timeout=grace_seconds)
        if executors_stopped is not None:
            await executors_stopped
        for signals in state.active.values():
            signals.stop(StopReason.SHUTDOWN)
        if unfinished:
            timeout = NODE_CANCEL_TIMEOUT_SECONDS + RELEASE_TIMEOUT_SECONDS
            await asyncio.wait(unfinished, timeout=timeout)
        state.drained.set()
