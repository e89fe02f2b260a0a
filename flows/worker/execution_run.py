"""Execution run: runs one claimed execution until it ended or its lease is released."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from database.executions.journal_records import ExecutionResult
from database.executions.queue import ClaimedExecution
from engine.errors import LeaseLostError, StorageError
from flows.execution.signals import StopReason
from flows.prefect_adapter.runs import crash_flow_run, is_tracked, run_flow
from flows.storage_retry import retry_while_unavailable
from flows.worker.execution_trace import end_trace
from flows.workflow_flow import ExecutionContext, fail_execution, workflow_flow
from metrics import UNOBSERVED, Metrics

log = structlog.get_logger()

PREFECT_RETRY_DELAY_SECONDS = 5.0
"""Delay before an execution is claimed again whose flow run Prefect could not start, in seconds."""
END_RETRY_DELAY_SECONDS = 60.0
"""Delay before an end that the database has rejected is tried again, in seconds."""

StartFlow: TypeAlias = Callable[
    [ExecutionContext, str, Callable[[str], Awaitable[None]]], Awaitable[object]
]
"""Runs the flow of an execution. The parameters are its context, the name of a new flow run, and a
function that is called with the id of the flow run before the flow starts."""


async def start_new_flow(
    context: ExecutionContext, name: str, on_created: Callable[[str], Awaitable[None]]
) -> None:
    """Run the flow in a new flow run."""
    await run_flow(workflow_flow, context.lease.execution_id, name, on_created, context)


@dataclass(frozen=True, slots=True)
class ExecutionRun:
    """One claimed execution. ``run`` sets the outcome of ``context``."""

    claimed: ClaimedExecution
    context: ExecutionContext
    max_recovery_attempts: int
    timeout_seconds: float | None
    is_stopping: Callable[[], bool]
    """Returns whether the service stops; the database is not retried then."""
    metrics: Metrics = UNOBSERVED
    start_flow: StartFlow = start_new_flow

    async def run(self) -> None:
        """Run the execution as a flow run. Release its lease if it did not end."""
        claimed, execution_id = self.claimed, self.claimed.lease.execution_id
        trace = self.context.node_runner.trace
        ids = {"execution_id": execution_id, "trace_id": trace.trace_id}
        structlog.contextvars.bind_contextvars(**{key: id_ for key, id_ in ids.items() if id_})
        log.info("execution_claimed", workflow=claimed.workflow_name)
        if claimed.recoveries:
            self.metrics.execution_recovered()
        timer = None
        if self.timeout_seconds is not None:
            stop, loop = self.context.signals.stop, asyncio.get_running_loop()
            timer = loop.call_later(self.timeout_seconds, stop, StopReason.TIMEOUT)
        try:
            await self._execute()
        except Exception as error:  # noqa: BLE001 - Prefect failed, and the execution is released
            log.warning("flow_run_failed", reason=f"{type(error).__name__}: {error}")
        try:
            await self._release_unfinished()
        finally:
            end_trace(trace, self.context.outcome)
            if timer:
                timer.cancel()

    async def _execute(self) -> None:
        claimed, queue = self.claimed, self.context.database.queue
        if claimed.end_error is not None:
            self.context.outcome = await fail_execution(self.context, claimed.end_error)
            return
        if claimed.recoveries >= self.max_recovery_attempts:
            await self._fail_poisoned()
            return
        if claimed.recoveries and claimed.last_flow_run_id:
            await crash_flow_run(claimed.last_flow_run_id)
        execution_id = claimed.lease.execution_id

        async def link(flow_run_id: str) -> None:
            if is_tracked():  # a Prefect server must learn about the end even after a crash
                await queue.link_flow_run(claimed.lease, flow_run_id)
            else:  # recorded with the first step, without a transaction of its own
                self.context.lease = replace(claimed.lease, flow_run_id=flow_run_id)
            self.context.node_runner.trace.run_started(flow_run_id)

        name = f"{claimed.workflow_name} {execution_id}"
        await self.start_flow(self.context, name, link)

    async def _fail_poisoned(self) -> None:
        """End an execution that crashed its owners repeatedly, instead of running it again."""
        error = (
            f"The service went down {self.claimed.recoveries} times while it ran this execution, "
            "and no node of it ended in between (MAX_RECOVERY_ATTEMPTS)"
        )
        self.context.outcome = await fail_execution(self.context, error)

    async def _release_unfinished(self) -> None:
        """Return the execution to the queue, unless it ended, is parked or has another owner."""
        outcome = self.context.outcome
        if isinstance(outcome, ExecutionResult):
            log.info("execution_finished", status=outcome.status)
            self.metrics.execution_ended(outcome.status)
            return
        if outcome == StopReason.LEASE_LOST:
            log.warning("lease_lost")
            self.metrics.lease_lost()
        if outcome in (StopReason.LEASE_LOST, StopReason.PARKED):
            return
        delay = PREFECT_RETRY_DELAY_SECONDS
        if outcome == StopReason.SHUTDOWN:
            delay = 0.0
        elif outcome == StopReason.UNRECORDED:
            delay = END_RETRY_DELAY_SECONDS
        reason = self.context.end_error
        lease, queue = self.claimed.lease, self.context.database.queue
        try:
            await retry_while_unavailable(
                lambda: queue.release(lease, delay, reason), "execution_release", self.is_stopping
            )
            log.info("execution_released", delay_seconds=delay)
        except (LeaseLostError, StorageError) as error:
            # The lease expires, and another claim continues the execution.
            log.warning("execution_release_failed", reason=str(error))
