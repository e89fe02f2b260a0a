"""Task calls: runs tasks on Prefect's task engine, without the parts that only inform a server.

Prefect's engine describes each state of a task run in an event, links each result to its task run
for the view of a server, and computes contexts of assets, tags and telemetry. Without a server all
of it is discarded, and it takes most of the time of a task run. `EmbeddedTaskRunEngine` leaves it
out. The attempts, delays, timeouts, hooks, states, transactions and the run context are Prefect's.

Prefect's own engine runs a task that uses one of the omitted parts, and every task of a tracked
flow run. ``tests/prefect/test_embedded_engine.py`` fails if the installed Prefect has another
version of the methods that this module replaces.
"""

import inspect
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

from prefect import Task
from prefect._flow_run_suspension import raise_if_flow_run_suspension_requested
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType, TaskRun, TaskRunPolicy
from prefect.concurrency.context import ConcurrencyContext
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.exceptions import Abort, Pause
from prefect.logging.loggers import task_run_logger
from prefect.states import is_state_iterable
from prefect.task_engine import AsyncTaskRunEngine, TaskRunTimeoutError
from prefect.transactions import AsyncTransaction
from prefect.utilities.annotations import quote
from prefect.utilities.engine import should_log_prints
from prefect.utilities.timeout import timeout_async

from flows.prefect_adapter.client import EmbeddedPrefectClient
from flows.prefect_adapter.flow_engine import ENGINE_LOGGER, NO_TELEMETRY
from flows.prefect_adapter.runs import require_prefect_context
from flows.prefect_adapter.states import new_id, new_state

AnyTask: TypeAlias = Task[Any, Any]

_ARGUMENTS = 2
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TRANSACTION = AsyncTransaction(write_on_commit=False)


class TaskCall:
    """Calls one asynchronous task with two positional arguments, any number of times."""

    def __init__(self, task: AnyTask, name_of: Callable[[dict[str, Any]], str]) -> None:
        """``name_of``, the task's ``task_run_name``, gets the arguments by their names."""
        self.task = task
        self._name_of = name_of
        self._parameters = _parameters_of(task)
        self._template = _task_run_template(task)

    async def __call__(self, first: object, second: object) -> Any:
        """Run the task in the current flow run; return its result.

        Prefect does not search the arguments for results of other tasks, because that takes 1.5 s
        for 5 MB.

        Raises:
            Exception: If the last attempt failed.
            asyncio.CancelledError: If the surrounding task was cancelled.
        """
        client = require_prefect_context()
        flow_context = FlowRunContext.get()
        if (
            self._parameters is None
            or flow_context is None
            or not isinstance(client, EmbeddedPrefectClient)
            or TaskRunContext.get() is not None
            or TagsContext.get().current_tags
            or should_log_prints(self.task)
            or logging.getLogger("prefect.task_runs").isEnabledFor(logging.DEBUG)
        ):
            return await self.task(quote(first), quote(second))
        parameters = dict(zip(self._parameters, (first, second), strict=True))
        engine = EmbeddedTaskRunEngine(
            task=self.task,
            logger=ENGINE_LOGGER,
            parameters=parameters,
            task_run=self._new_task_run(flow_context, parameters),
            _telemetry=NO_TELEMETRY,
        )
        return await engine.run(flow_context, client)

    def _new_task_run(self, flow_context: FlowRunContext, parameters: dict[str, Any]) -> TaskRun:
        """Return a new pending task run, as ``Task.create_local_run`` does."""
        task = self.task
        flow_run = flow_context.flow_run
        task_run_id, flow_run_id = new_id(), None if flow_run is None else flow_run.id
        state = new_state(StateType.PENDING, task_run_id, flow_run_id)
        return self._template.model_copy(
            update={
                "id": task_run_id,
                "name": self._name_of(parameters),
                "flow_run_id": flow_run_id,
                "dynamic_key": str(new_id()),
                "empirical_policy": self._template.empirical_policy.model_copy(),
                "flow_run_run_count": 0 if flow_run is None else flow_run.run_count,
                "tags": [],
                "labels": {},
                "task_inputs": {name: [] for name in parameters},
                "task_version": task.version,
                "expected_start_time": state.timestamp,
                "created": state.timestamp,
                "updated": state.timestamp,
                "state": state,
                "state_id": state.id,
            }
        )


class EmbeddedTaskRunEngine(AsyncTaskRunEngine[Any, Any]):
    """Runs one task run of a flow run without a server; see the module."""

    async def run(self, flow_context: FlowRunContext, client: PrefectClient) -> Any:
        """Run all attempts; return the result, as Prefect's ``run_task_async`` does.

        Raises:
            Exception: If the last attempt failed.
            asyncio.CancelledError: If the surrounding task was cancelled.
        """
        task, task_run = self.task, self.task_run
        assert task_run is not None
        self._client, self._is_started = client, True
        self._parameters_resolved = self._task_name_set = True
        self.logger = cast("logging.Logger", task_run_logger(task_run, task))
        store = flow_context.result_store
        if task.cache_result_in_memory != store.cache_result_in_memory or task.result_serializer:
            store = await store.aupdate_for_task(task)
        context = TaskRunContext(
            task=task,
            task_run=task_run,
            parameters=self.parameters or {},
            result_store=store,
            client=client,
            persist_result=False,
        )
        with context, ConcurrencyContext():
            try:
                raise_if_flow_run_suspension_requested()
                running = new_state(StateType.RUNNING, task_run.id, task_run.flow_run_id)
                task_run.start_time = cast("Any", running.timestamp)
                await self.set_state(running)
                await self.call_hooks(running)
                try:
                    while self.is_running():
                        await self.wait_until_ready()
                        await self._run_attempt()
                        raise_if_flow_run_suspension_requested()
                finally:
                    await self.call_hooks()
            except (Exception, Pause, Abort, GeneratorExit):
                raise
            except BaseException as error:
                await self.handle_crash(error)
                raise
            finally:
                self._is_started = False
        return await self.result()

    async def _run_attempt(self) -> None:
        try:
            with timeout_async(
                seconds=self.task.timeout_seconds, timeout_exc_type=TaskRunTimeoutError
            ):
                async with _new_transaction(self.logger) as transaction:
                    result: object = await self.task.fn(*(self.parameters or {}).values())
                    await self.handle_success(result, transaction)
        except TimeoutError as error:
            await self.handle_timeout(error)
        except Exception as error:  # noqa: BLE001 - Prefect retries it, or raises it at the end
            await self.handle_exception(error)

    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:  # noqa: ARG002, FBT001, FBT002 - Prefect's signature
        """Set the state and the fields that depend on it, without an event."""
        task_run, last = self.task_run, self.state
        assert task_run is not None
        if last.timestamp == state.timestamp:
            state.timestamp += timedelta(microseconds=1)
        details = state.state_details
        if details.task_run_id != task_run.id or details.flow_run_id != task_run.flow_run_id:
            details.task_run_id, details.flow_run_id = task_run.id, task_run.flow_run_id
        task_run.state, task_run.state_id = state, state.id
        task_run.state_type, task_run.state_name = state.type, state.name
        if last.is_running():
            # The standard library's method, because Prefect's timestamps compute calendar units.
            task_run.total_run_time += datetime.__sub__(state.timestamp, last.timestamp)
        if state.is_running():
            task_run.run_count += 1
        if state.is_final() and task_run.start_time and not task_run.end_time:
            task_run.end_time = cast("Any", state.timestamp)
        return state

    async def handle_success(self, result: Any, transaction: AsyncTransaction) -> Any:
        """Set the final state; completion hooks get the state that Prefect creates."""
        task, task_run = self.task, self.task_run
        assert task_run is not None
        if task.on_completion_hooks or isinstance(result, State) or is_state_iterable(result):
            return await super().handle_success(result, transaction)
        completed = new_state(StateType.COMPLETED, task_run.id, task_run.flow_run_id, result)
        transaction.stage(
            result,
            on_rollback_hooks=list(task.on_rollback_hooks),
            on_commit_hooks=list(task.on_commit_hooks),
        )
        await self.set_state(completed)
        self._return_value = result
        return result

    def handle_rollback(self, txn: object) -> None:
        """Send no event about a rollback."""


def _parameters_of(task: AnyTask) -> tuple[str, ...] | None:
    """Return the names of both parameters; ``None`` if Prefect's own engine must run the task."""
    if (
        not task.isasync
        or task.isgenerator
        or task.tags
        or task.asset_deps
        or task.log_prints
        or task.persist_result is not False
        or task.result_storage is not None
        or task.result_storage_key is not None
        or task.cache_expiration is not None
    ):
        return None
    parameters = inspect.signature(task.fn).parameters.values()
    if len(parameters) != _ARGUMENTS or any(p.kind not in _POSITIONAL for p in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)


def _new_transaction(logger: logging.Logger) -> AsyncTransaction:
    """Return a transaction without a key, so that it stores nothing; it calls hooks."""
    lists: dict[str, object] = {"children": [], "on_commit_hooks": [], "on_rollback_hooks": []}
    transaction = _TRANSACTION.model_copy(update={**lists, "logger": logger})
    transaction._stored_values = {}  # pyright: ignore[reportPrivateUsage] - the copy shares it
    return transaction


def _task_run_template(task: AnyTask) -> TaskRun:
    """Return a task run with the fields that all runs of ``task`` share."""
    return TaskRun(
        name=task.name,
        task_key=task.task_key,
        dynamic_key="",
        task_version=task.version,
        empirical_policy=TaskRunPolicy(
            retries=task.retries,
            retry_delay=cast("Any", task.retry_delay_seconds),
            retry_jitter_factor=task.retry_jitter_factor,
        ),
        state_type=StateType.PENDING,
        state_name="Pending",
    )
