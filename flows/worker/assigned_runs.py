"""Assigned runs: executions that a work pool assigns to this worker, one flow run each."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

import structlog
from prefect.client.schemas.objects import FlowRun, State

from database.executions.dispatches import IsolationPendingError, LimitReachedError
from database.executions.queue import ClaimedExecution
from engine.errors import StorageError
from flows.prefect_adapter.runs import require_prefect_context, run_created_flow
from flows.prefect_adapter.work_pools import PARAMETER, end_unused_flow_run, skip_flow_run
from flows.storage_retry import retry_while_unavailable
from flows.worker.dispatch_waits import DispatchWaits
from flows.worker.execution_starter import ExecutionStarter
from flows.worker.state import WorkerState
from flows.workflow_flow import ExecutionContext, workflow_flow

log = structlog.get_logger()


class WorkerStoppingError(Exception):
    """The worker stops and claims nothing any more."""


class AssignedRuns:
    """Claims assigned executions and runs them. Used in the event loop of the worker."""

    def __init__(self, starter: ExecutionStarter, state: WorkerState) -> None:
        self._starter = starter
        self._state = state
        self._dispatch_waits = DispatchWaits(starter.database)
        self._claim_order = asyncio.Lock()
        """Held by the first flow run in line. While it waits for a slot or must run alone, the
        worker claims nothing else."""

    async def wait_for_dispatch(self) -> None:
        """Wait until the pool may have a flow run for this worker, or until the next poll."""
        slots = self._starter.settings.max_concurrent_executions
        await self._dispatch_waits.wait(len(self._state.active) / slots)

    async def run(self, flow_run: FlowRun) -> None:
        """Run the execution of a flow run, unless another flow run has claimed it.

        The execution continues if the caller is cancelled, because the caller only waits for it.
        """
        task = asyncio.create_task(self._run(flow_run))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)
        try:
            await asyncio.shield(task)
        finally:
            self._dispatch_waits.request()  # a slot is free

    async def _run(self, flow_run: FlowRun) -> None:
        execution_id = str(flow_run.parameters[PARAMETER])
        client = require_prefect_context()
        try:
            claimed = await self._claim(execution_id)
        except (WorkerStoppingError, LimitReachedError, StorageError) as error:
            await self._return(execution_id, flow_run, error)
            return
        if claimed is None:
            log.info("flow_run_skipped", execution_id=execution_id)
            await skip_flow_run(client, flow_run.id)
            return
        states: list[State[object]] = []

        async def start_flow(
            context: ExecutionContext, _name: str, on_created: Callable[[str], Awaitable[None]]
        ) -> None:
            states.append(await run_created_flow(workflow_flow, flow_run, on_created, context))

        await self._starter.start(claimed, self._state, start_flow)
        if not states:  # it was failed without its flow, or the flow run was not started
            message = "The flow of the execution was not started; see the service log"
            await end_unused_flow_run(client, str(flow_run.id), message, crashed=True)

    async def _return(self, execution_id: str, flow_run: FlowRun, reason: Exception) -> None:
        """Let another worker run an execution that this one has not claimed."""
        log.info("flow_run_returned", execution_id=execution_id, reason=str(reason))
        with suppress(StorageError):  # the dispatch is found to be lost after a lease
            dispatches = self._starter.database.dispatches
            await dispatches.withdraw_flow_run(execution_id, str(flow_run.id))
        message = f"The worker did not claim the execution: {reason}"
        await end_unused_flow_run(require_prefect_context(), str(flow_run.id), message)

    async def _claim(self, execution_id: str) -> ClaimedExecution | None:
        """Claim an execution when a slot is free; return ``None`` if it is not claimable.

        Raises:
            WorkerStoppingError: If the worker stops before.
            LimitReachedError: If a limit of executions does not allow it now.
        """
        starter, settings = self._starter, self._starter.settings
        isolate_after = max(1, settings.max_recovery_attempts - 1)

        async def claim() -> ClaimedExecution | None:
            return await starter.database.dispatches.claim(
                self._state.owner, execution_id, settings.lease_seconds, isolate_after
            )

        async with self._claim_order:
            while not starter.is_stopping():
                if len(self._state.active) < settings.max_concurrent_executions:
                    try:
                        return await retry_while_unavailable(
                            claim, "assigned_claim", starter.is_stopping
                        )
                    except IsolationPendingError:
                        log.info("isolation_awaited", execution_id=execution_id)
                await self._wait_for_change()
        raise WorkerStoppingError("the worker stops")

    async def _wait_for_change(self) -> None:
        """Wait until an execution ends, at most for the poll interval."""
        seconds = self._starter.settings.poll_interval_seconds
        if others := self._state.tasks - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)


PollPool: TypeAlias = Callable[[AssignedRuns], Coroutine[Any, Any, None]]
"""Polls a work pool until it is cancelled, and runs the flow runs that it returns."""
