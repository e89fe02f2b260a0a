"""Pool worker: a worker of Prefect's work pools that runs flows in its own process.

Prefect's process worker starts a Python process with all imports for each flow run, which takes
seconds. Only ``start_worker.py`` imports this module.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from prefect.workers.base import (
    BaseJobConfiguration,
    BaseVariables,
    BaseWorker,
    BaseWorkerResult,
)

from flows.prefect_adapter.work_pools import POOL_TYPE
from flows.worker.assigned_runs import AssignedRuns, PollPool

if TYPE_CHECKING:
    import anyio.abc
    from prefect.client.schemas.objects import FlowRun

RESTART_DELAY_SECONDS = 2.0
"""Pause before the work pool is polled again after Prefect's polling has failed, in seconds."""

_NO_INFRASTRUCTURE = BaseJobConfiguration()

log = structlog.get_logger()


class WorkflowWorker(BaseWorker[BaseJobConfiguration, BaseVariables, BaseWorkerResult]):
    """Polls a work pool with Prefect's loops, and passes each flow run to ``AssignedRuns``."""

    type = "workflow-service"
    job_configuration = BaseJobConfiguration
    _description = "Runs executions of the Workflow Orchestration Service in its own process."

    def __init__(self, runs: AssignedRuns, work_pool_name: str, **options: Any) -> None:
        super().__init__(work_pool_name, **options)
        self._runs = runs

    async def get_and_submit_flow_runs(self) -> "list[FlowRun]":
        """Poll the pool when a flow run was submitted, and run what it returns."""
        await self._runs.wait_for_dispatch()
        return await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: BaseJobConfiguration,  # noqa: ARG002 - Prefect's signature
        task_status: "anyio.abc.TaskStatus[int] | None" = None,  # noqa: ARG002 - as above
    ) -> BaseWorkerResult:
        """Run the execution of a flow run until it ends or its lease is released."""
        await self._runs.run(flow_run)
        return BaseWorkerResult(identifier=str(flow_run.id), status_code=0)

    async def _submit_run(self, flow_run: "FlowRun") -> None:
        """Run a flow run after the server has assigned it to this worker.

        Prefect's own method sends eight more requests, which read the deployment and the template
        of the infrastructure and store labels, before it calls ``run``.
        """
        try:
            if await self._propose_pending_state(flow_run):
                await self.run(flow_run, _NO_INFRASTRUCTURE)
        except Exception:
            log.exception("assigned_run_failed", flow_run_id=str(flow_run.id))
        finally:
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)


# After the class has been registered, because Prefect's process worker has this name already.
WorkflowWorker.type = POOL_TYPE


def poll_work_pool(work_pool: str, name: str | None, limit: int) -> PollPool:
    """Return the function that polls ``work_pool`` as the worker ``name``.

    ``limit`` is the maximum number of flow runs that the worker takes at the same time.
    """

    async def poll(runs: AssignedRuns) -> None:
        while True:
            worker = WorkflowWorker(runs, work_pool, name=name, limit=limit)
            try:
                await worker.start(printer=_log_message)
            except Exception as error:  # noqa: BLE001 - Prefect gives up without its server
                log.warning("pool_polling_failed", reason=f"{type(error).__name__}: {error}")
            # The executions continue, because ``AssignedRuns`` does not depend on the polling.
            await asyncio.sleep(RESTART_DELAY_SECONDS)

    return poll


def _log_message(message: str) -> None:
    log.info("pool_worker_changed", message=message)
