"""Work pools: registers the deployment of the flow, and submits flow runs of it."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed

PARAMETER = "execution_id"
"""The only parameter of a flow run, because a server stores parameters."""
DEPLOYMENT_NAME = "executions"
POOL_TYPE = "process"
"""Type of the work pool and of its workers, so that Prefect's process worker can run the same
deployment. All workers of a pool should have its type."""
ENTRYPOINT = "pool_flow.py:run_execution"
"""File and function of the flow that Prefect's process worker runs."""


class DeploymentMissingError(Exception):
    """The deployment does not exist on the server any more."""


async def register_deployment(
    client: PrefectClient, flow: Flow[..., Any], work_pool: str, code: Path
) -> UUID:
    """Create or update the work pool and the deployment; return the id of the deployment.

    Args:
        client: the client of a Prefect server.
        flow: the flow of executions.
        work_pool: the name of the pool; it is created if it does not exist.
        code: the directory of the service on the machines of Prefect's process workers.
    """
    try:
        await client.read_work_pool(work_pool)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # created by another service in the meantime
            await client.create_work_pool(WorkPoolCreate(name=work_pool, type=POOL_TYPE))
    flow_id = await client.create_flow(flow)
    return await client.create_deployment(
        flow_id,
        DEPLOYMENT_NAME,
        work_pool_name=work_pool,
        entrypoint=ENTRYPOINT,
        path=str(code),
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(code)}}],
        description="Runs one execution of the Workflow Orchestration Service",
        enforce_parameter_schema=False,
        parameter_openapi_schema={
            "type": "object",
            "properties": {PARAMETER: {"type": "string", "title": PARAMETER}},
            "required": [PARAMETER],
        },
    )


async def submit_flow_run(
    client: PrefectClient, deployment_id: UUID, execution_id: str, attempt: int, name: str
) -> str:
    """Submit a flow run for an execution; return its id, or that of an earlier submission.

    Raises:
        DeploymentMissingError: If the deployment does not exist any more.
        Exception: If the server is unavailable.
    """
    try:
        flow_run = await client.create_flow_run_from_deployment(
            deployment_id,
            parameters={PARAMETER: execution_id},
            name=name,
            idempotency_key=f"{execution_id}:{attempt}",
        )
    except ObjectNotFound as error:
        raise DeploymentMissingError from error
    return str(flow_run.id)


async def open_flow_runs(
    client: PrefectClient, flow_run_ids: Collection[str]
) -> dict[str, StateType]:
    """Return the states of those of the flow runs that exist and have not ended."""
    if not flow_run_ids:
        return {}
    ids = [UUID(flow_run_id) for flow_run_id in flow_run_ids]
    found = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=len(ids)
    )
    return {
        str(run.id): run.state_type
        for run in found
        if run.state_type is not None and run.state_type not in TERMINAL_STATES
    }


async def end_unused_flow_run(
    client: PrefectClient, flow_run_id: str, message: str, *, crashed: bool = False
) -> None:
    """Set the final state of a flow run that runs no execution, unless it has one.

    Errors of the server are ignored, because the journal contains the state of the execution.
    """
    with suppress(Exception):
        flow_run = await client.read_flow_run(UUID(flow_run_id))
        if flow_run.state is None or not flow_run.state.is_final():
            state = Crashed(message=message) if crashed else Cancelled(message=message)
            await client.set_flow_run_state(flow_run.id, state, force=True)


async def skip_flow_run(client: PrefectClient, flow_run_id: UUID) -> None:
    """End a flow run whose execution another flow run has claimed, or that has ended."""
    with suppress(Exception):
        state = Completed(
            name="Skipped", message="The execution has ended, or another flow run executes it"
        )
        await client.set_flow_run_state(flow_run_id, state, force=True)
