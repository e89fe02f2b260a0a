"""Embedded flow engine: runs a flow on Prefect's flow engine without the parts for a server.

As `flows.prefect_adapter.task_calls` for tasks, it replaces the steps of a successful run, and
leaves everything else to the methods of Prefect's engine. A flow that uses one of the omitted parts
runs on Prefect's own engine.
"""

import logging
from typing import Any, cast

from prefect import Flow
from prefect._flow_run_suspension import raise_if_flow_run_suspension_requested
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.concurrency.context import ConcurrencyContext
from prefect.context import FlowRunContext, TagsContext
from prefect.exceptions import Abort, Pause
from prefect.flow_engine import AsyncFlowRunEngine, run_flow_async
from prefect.logging.loggers import flow_run_logger, get_logger
from prefect.results import ResultStore
from prefect.telemetry.run_telemetry import RunTelemetry
from prefect.utilities.engine import should_log_prints

from flows.prefect_adapter.client import EmbeddedPrefectClient
from flows.prefect_adapter.states import new_state

AnyFlow = Flow[Any, Any]

ENGINE_LOGGER = get_logger("engine")
NO_TELEMETRY = RunTelemetry(_enabled=False)


async def drive_flow_run(
    flow: AnyFlow, flow_run: FlowRun, parameters: dict[str, Any], client: PrefectClient
) -> object:
    """Run ``flow`` as a flow run that was created; return its final state."""
    if not isinstance(client, EmbeddedPrefectClient) or _needs_prefects_engine(flow):
        return await run_flow_async(
            flow, flow_run=flow_run, parameters=parameters, return_type="state"
        )
    engine = EmbeddedFlowRunEngine(
        flow=flow,
        flow_run=flow_run,
        parameters=parameters,
        logger=ENGINE_LOGGER,
        _telemetry=NO_TELEMETRY,
    )
    return await engine.run(client)


def _needs_prefects_engine(flow: AnyFlow) -> bool:
    """Return whether a flow uses a part that `EmbeddedFlowRunEngine` omits."""
    hooks = (
        flow.on_running_hooks,
        flow.on_completion_hooks,
        flow.on_failure_hooks,
        flow.on_crashed_hooks,
        flow.on_cancellation_hooks,
    )
    return bool(
        any(hooks)
        or flow.should_validate_parameters
        or flow.persist_result is not False
        or flow.timeout_seconds is not None
        or flow.flow_run_name
        or should_log_prints(flow)
        or FlowRunContext.get() is not None
        or TagsContext.get().current_tags
        or logging.getLogger("prefect.flow_runs").isEnabledFor(logging.DEBUG)
    )


class EmbeddedFlowRunEngine(AsyncFlowRunEngine[Any, Any]):
    """Runs one flow run without a server; see the module."""

    async def run(self, client: PrefectClient) -> State[Any]:
        """Run the flow; return the final state.

        Raises:
            asyncio.CancelledError: If the surrounding task was cancelled, and the flow did not
                return.
        """
        flow, flow_run = self.flow, self.flow_run
        assert flow_run is not None
        self._client, self._is_started = client, True
        self.logger = cast("logging.Logger", flow_run_logger(flow_run=flow_run, flow=flow))
        store = await ResultStore().aupdate_for_flow(flow)
        try:
            with (
                self.setup_flow_run_suspension_request() as suspension,
                flow.task_runner.duplicate() as task_runner,
            ):
                await self.set_state(new_state(StateType.RUNNING, None, flow_run.id))
                context = FlowRunContext(
                    flow=flow,
                    flow_run=flow_run,
                    parameters=self.parameters,
                    client=client,
                    result_store=store,
                    task_runner=task_runner,
                    persist_result=False,
                    flow_run_suspension_request=suspension,
                )
                with context, ConcurrencyContext():
                    await self._run_flow()
        except (Exception, Abort, Pause, GeneratorExit):
            raise
        except BaseException as error:
            # A flow that was cancelled after its end keeps its state.
            if not self.state.is_final():
                await self.handle_crash(error)
                raise
        finally:
            self._is_started = False
        return self.state

    async def _run_flow(self) -> None:
        try:
            result: object = await self.flow.fn(**(self.parameters or {}))
            await self.handle_success(result)
        except TimeoutError as error:
            await self.handle_timeout(error)
        except Exception as error:
            self.logger.exception("Encountered exception during execution")
            await self.handle_exception(error)

    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:  # noqa: FBT001, FBT002 - Prefect's signature
        """Set the state in the client, which accepts all states; the flow has no hooks."""
        flow_run = self.flow_run
        assert flow_run is not None
        await self.client.set_flow_run_state(flow_run.id, state, force)
        flow_run.state, flow_run.state_name, flow_run.state_type = state, state.name, state.type
        return state

    async def handle_success(self, result: Any) -> Any:
        """Set the state that the flow returned, or the state that Prefect creates for a value."""
        if not isinstance(result, State) or not result.is_final():
            return await super().handle_success(result)
        raise_if_flow_run_suspension_requested()
        await self.set_state(cast("State[Any]", result))
        self._return_value = result
        return cast("State[Any]", result)
