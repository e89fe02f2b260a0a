"""Pool worker: a worker of Prefect's work pools that runs flows in its own process.

Prefect's process worker starts a Python process with all imports for each flow run, which takes
seconds. Only ``start_worker.py`` imports this module.
"""

import asyncio
import os
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

log = structlog.get_logger()


class WorkflowWorker(BaseWorker[BaseJobConfiguration, BaseVariables, BaseWorkerResult]):
    """Polls a work pool with Prefect's loops, and passes each flow run to ``AssignedRuns``."""

    type = "workflow-service"
    job_configuration = BaseJobConfiguration
    _description = "Runs executions of the Workflow Orchestration Service in its own process."

    def __init__(self, runs: AssignedRuns, work_pool_name: str, **options: Any) -> None:
        super().__init__(work_pool_name, **options)
        self._runs = runs

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: BaseJobConfiguration,  # noqa: ARG002 - Prefect's signature
        task_status: "anyio.abc.TaskStatus[int] | None" = None,
    ) -> BaseWorkerResult:
        """Run the execution of a flow run until it ends or its lease is released."""
        if task_status is not None:
            task_status.started(os.getpid())
        await self._runs.run(flow_run)
        return BaseWorkerResult(identifier=str(flow_run.id), status_code=0)


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
