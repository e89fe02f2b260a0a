"""Dispatcher: submits a flow run to Prefect's work pool for each claimable execution.

Services and workers of a pool run one each. The table ``orchestrator_runs`` remains the queue, so
that executions wait there while Prefect's server is unavailable, and each one is dispatched again
if its flow run is lost.
"""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType

from database import Database
from database.executions.dispatches import Dispatch
from flows.prefect_adapter.runs import require_prefect_context
from flows.prefect_adapter.work_pools import (
    DeploymentMissingError,
    end_unused_flow_run,
    open_flow_runs,
    register_deployment,
    submit_flow_run,
)
from flows.worker.state import WorkerSettings, WorkerState
from flows.workflow_flow import workflow_flow

log = structlog.get_logger()

MAX_UNCLAIMED_DISPATCHES = 64
"""Maximum number of executions whose flow runs wait for a worker. The others wait in the table, so
that organizations take turns."""
MAX_CONCURRENT_DISPATCHES = 8
"""Maximum number of requests to Prefect's server at the same time."""
DISPATCH_TIMEOUT_SECONDS = 10.0
"""Timeout for one request, in seconds, because Prefect's client would retry for minutes."""
MAX_DISPATCH_BACKOFF_SECONDS = 5.0
"""Maximum pause after a failure, in seconds."""
MAX_CLAIM_SECONDS = 30.0
"""Maximum time from the assignment of a flow run to the claim of its execution, in seconds. It is a
second on an idle machine. An earlier replacement would do no harm."""
CODE = Path(__file__).resolve().parent.parent.parent
"""Directory of the service, from which Prefect's process worker loads the flow."""


async def register(client: PrefectClient, work_pool: str) -> UUID:
    """Create or update the work pool and the deployment; return the id of the deployment."""
    return await register_deployment(client, workflow_flow, work_pool, CODE)


class Dispatcher:
    """Submits executions. Used in one event loop, inside ``prefect_context``."""

    def __init__(self, database: Database, settings: WorkerSettings) -> None:
        assert settings.prefect_work_pool is not None
        self._database = database
        self._dispatches = database.dispatches
        self._settings = settings
        self._work_pool = settings.prefect_work_pool
        self._owner = str(uuid4())
        self._deployment_id: UUID | None = None
        self._failures = 0
        self._next_attempt = 0.0
        self._next_check = 0.0

    async def dispatch_due(self, state: WorkerState) -> None:
        """Return executions of crashed owners to the queue, and dispatch claimable executions.

        Raises:
            StorageError: If the database is unavailable.
        """
        lease = self._settings.lease_seconds
        await self._database.queue.claim(self._owner, 0, lease, list(state.active))
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_attempt:
            return
        try:
            if self._deployment_id is None:
                await self._register()
            if loop.time() >= self._next_check:
                self._next_check = loop.time() + lease / 2
                await self._withdraw_lost(lease)
        except Exception as error:  # noqa: BLE001 - the client raises many types without a server
            self._delay(error)
            return
        more = True
        while more:
            more = await self._dispatch_batch()

    async def _register(self) -> None:
        async with asyncio.timeout(DISPATCH_TIMEOUT_SECONDS):
            self._deployment_id = await register(require_prefect_context(), self._work_pool)
        log.info("deployment_registered", work_pool=self._work_pool)

    async def _dispatch_batch(self) -> bool:
        """Dispatch some executions; return whether there may be more."""
        batch = await self._dispatches.reserve(MAX_UNCLAIMED_DISPATCHES, MAX_CONCURRENT_DISPATCHES)
        if not batch:
            return False
        succeeded = await asyncio.gather(*map(self._dispatch, batch))
        if not all(succeeded):
            return False
        self._failures = 0
        return True

    async def _dispatch(self, dispatch: Dispatch) -> bool:
        """Submit one flow run; return whether the server accepted it."""
        deployment_id = self._deployment_id
        if deployment_id is None:  # it was missing for another execution of the batch
            await self._dispatches.withdraw(dispatch)
            return False
        try:
            async with asyncio.timeout(DISPATCH_TIMEOUT_SECONDS):
                flow_run_id = await submit_flow_run(
                    require_prefect_context(),
                    deployment_id,
                    dispatch.execution_id,
                    dispatch.attempt,
                    f"{dispatch.workflow_name} {dispatch.execution_id}",
                )
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, DeploymentMissingError):
                self._deployment_id = None
            self._delay(error)
            await self._dispatches.withdraw(dispatch)
            return False
        await self._dispatches.confirm(dispatch, flow_run_id)
        log.info(
            "execution_dispatched",
            execution_id=dispatch.execution_id,
            attempt=dispatch.attempt,
            flow_run_id=flow_run_id,
        )
        return True

    def _delay(self, error: Exception) -> None:
        loop = asyncio.get_running_loop()
        self._failures += 1
        pause = min(MAX_DISPATCH_BACKOFF_SECONDS, 0.25 * 2.0 ** min(self._failures, 10))
        self._next_attempt = loop.time() + pause
        log.warning("dispatch_failed", reason=f"{type(error).__name__}: {error}", seconds=pause)

    async def _withdraw_lost(self, lease_seconds: float) -> None:
        """Make executions due again whose flow runs will not claim them.

        These are flow runs that have ended, for example in Prefect's UI, or do not exist any more,
        and those that a worker took and did not use within ``MAX_CLAIM_SECONDS``.
        """
        overdue = max(lease_seconds, MAX_CLAIM_SECONDS)
        dispatches = await self._dispatches.unconfirmed(
            lease_seconds, overdue, MAX_UNCLAIMED_DISPATCHES
        )
        known = {item.flow_run_id: item for item in dispatches if item.flow_run_id}
        client = require_prefect_context()
        async with asyncio.timeout(DISPATCH_TIMEOUT_SECONDS):
            states = await open_flow_runs(client, known.keys())
        for dispatch in dispatches:
            flow_run_id = dispatch.flow_run_id
            if flow_run_id is not None and flow_run_id in states:
                if states[flow_run_id] == StateType.SCHEDULED:  # it waits in the pool
                    await self._dispatches.confirm(dispatch, flow_run_id)
                    continue
                if not dispatch.is_overdue:
                    continue
            await self._dispatches.withdraw(dispatch)
            log.warning(
                "dispatch_lost", execution_id=dispatch.execution_id, flow_run_id=flow_run_id
            )
            if flow_run_id is not None:
                message = "No worker claimed the execution; another flow run executes it"
                await end_unused_flow_run(client, flow_run_id, message, crashed=True)
