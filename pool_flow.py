"""Pool flow: the flow that Prefect's process worker runs for one execution in a separate process.

The worker of ``start_worker.py`` does not use this module: it runs flows in its own process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Crashed

from config import Settings, load_settings, otel_variables
from credentials import mask_credentials
from database import Database
from database.executions.dispatches import LimitReachedError
from flows.nodes.permits import grant_permits_forever
from flows.prefect_adapter.runs import local_result_storage, set_flow_argument
from flows.worker.commits import follow_commits
from flows.worker.execution_starter import ExecutionStarter
from flows.worker.heartbeat import renew_leases_forever
from flows.worker.poller import poll_signals_forever
from flows.worker.state import WorkerState, set_execution_limits
from flows.workflow_flow import ExecutionContext, workflow_flow
from logs import configure_logging
from tasks.masking import secret_masker
from tasks.plugins import load_plugins
from tracing import start_tracing, stop_tracing
from worker_setup import (
    database_of,
    enabled_node_types,
    worker_settings,
)

log = structlog.get_logger()


@flow(name=workflow_flow.name, validate_parameters=False, persist_result=False)
async def run_execution(execution_id: str) -> State[Any]:
    """Claim one execution, and run it in the current flow run until it ends or is parked."""
    settings = load_settings(execution_mode="workpool")
    configure_logging(settings.log_level, settings.log_format)
    mask_credentials(settings)
    load_plugins(settings.node_module_names)
    database = database_of(settings, enabled_node_types(settings))
    start_tracing(otel_variables(), secret_masker.mask_truncated)
    try:
        return await _run(settings, database, execution_id)
    finally:
        await stop_tracing()
        await database.close()


async def _run(settings: Settings, database: Database, execution_id: str) -> State[Any]:
    values = worker_settings(settings)
    state = WorkerState()
    # The process runs one execution, so that a suspect is isolated anyway.
    set_execution_limits(database, values)
    try:
        claimed = await database.dispatches.claim(
            state.owner, execution_id, values.lease_seconds, values.max_recovery_attempts
        )
    except LimitReachedError:
        claimed = None  # the dispatch is found to be lost, and repeated
    if claimed is None:
        log.info("flow_run_skipped", execution_id=execution_id)
        return Completed(
            name="Skipped", message="The execution has ended, or another flow run executes it"
        )
    starter = ExecutionStarter(values, enabled_node_types(settings), database)
    states: list[State[Any]] = []

    async def start_flow(
        context: ExecutionContext, _name: str, on_created: Callable[[str], Awaitable[None]]
    ) -> None:
        current = FlowRunContext.get()
        assert current is not None
        assert current.flow_run is not None
        await on_created(str(current.flow_run.id))
        set_flow_argument(context)
        states.append(await workflow_flow.fn(execution_id))

    poll = values.poll_interval_seconds
    background = [
        asyncio.create_task(work)
        for work in (
            renew_leases_forever(
                database,
                state.owner,
                state.active,
                values.lease_seconds,
                is_limited=bool(values.execution_limits),
            ),
            grant_permits_forever(database, state.permit_waits, values.lease_seconds, poll),
            poll_signals_forever(database, state, poll),
            follow_commits(database, state, is_shared=values.database_notifications),
        )
    ]
    try:
        await starter.start(claimed, state, start_flow)
    finally:
        for task in background:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*background, return_exceptions=True)
    return states[0] if states else Crashed(message="The flow was not started; see the log")


local_result_storage(run_execution, load_settings().prefect_home)
