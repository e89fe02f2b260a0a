"""Workflow flow: the Prefect flow that runs every execution."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from database import Database
from database.executions.journal_records import ExecutionResult, JournalState
from database.records import Lease
from engine.errors import LeaseLostError, StorageError, describe
from engine.inputs import start_as
from engine.json_encoding import read_stored
from engine.json_values import JsonValue
from engine.plan import Plan
from engine.status import ExecutionStatus
from engine.validation import TypeRules, read_graph
from flows.execution.context import ExecutorContext
from flows.execution.executor import Executor
from flows.execution.signals import ExecutionSignals, StopReason
from flows.nodes.node_runner import NodeRunner
from flows.nodes.progress import Publish, publish_nowhere
from flows.prefect_adapter.runs import flow_argument
from flows.storage_retry import retry_while_unavailable
from offload import run_sized

log = structlog.get_logger()

_FINAL_STOPS = (StopReason.SHUTDOWN, StopReason.LEASE_LOST)


@dataclass(slots=True)
class ExecutionContext:
    """One claimed execution, the services that its flow run uses, and its outcome."""

    lease: Lease
    database: Database
    node_runner: NodeRunner
    signals: ExecutionSignals
    publish: Publish = publish_nowhere
    deferral_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Shared by the executions of an event loop; see ``DeferredSteps``."""
    outcome: ExecutionResult | StopReason | None = None
    """Set when the executor returns; ``None`` if it did not start or raised an exception."""
    parent_id: str | None = None
    """The execution that called this one; set when the journal is loaded."""
    end_error: str | None = None
    """Set with the outcome ``UNRECORDED``: the reason of the end that could not be stored."""


@flow(name="workflow", validate_parameters=False, persist_result=False)
async def workflow_flow(execution_id: str) -> State[Any]:
    """Run one execution from the state in its journal to its end.

    Prefect shows the returned state; the journal contains the authoritative result.
    """
    # Flow parameters contain ids only, because a server stores them.
    context = flow_argument(ExecutionContext)
    structlog.contextvars.bind_contextvars(execution_id=execution_id)
    try:
        context.outcome = await _run(context)
    except LeaseLostError:
        context.outcome = StopReason.LEASE_LOST
    except Exception as error:
        if context.signals.reason is not None and isinstance(error, StorageError):
            raise
        # A defect of the service occurs again in every attempt, so the execution ends here.
        log.exception("execution_failed_internally")
        reason = f"The service could not run the execution: {describe(error)}"
        context.outcome = await fail_execution(context, reason)
    return _as_state(context.outcome)


async def fail_execution(context: ExecutionContext, reason: str) -> ExecutionResult | StopReason:
    """End an execution as ``failed`` because of an internal error; return its outcome.

    Raises:
        StorageError: If the database is unavailable and the service stops.
    """
    journal, signals = context.database.journal, context.signals
    try:
        missing = await retry_while_unavailable(
            lambda: journal.abandon(context.lease, reason),
            "execution_failure",
            lambda: signals.draining or signals.reason in _FINAL_STOPS,
        )
    except LeaseLostError:
        return StopReason.LEASE_LOST
    except StorageError:
        raise
    except Exception as error:
        log.exception("execution_end_rejected")
        context.end_error = f"{reason}; its end was rejected: {describe(error)}"
        return StopReason.UNRECORDED
    if missing:
        log.error("execution_end_incomplete", reasons=missing)
    return ExecutionResult(ExecutionStatus.FAILED, error=reason)


async def _run(context: ExecutionContext) -> ExecutionResult | StopReason:
    journal, signals = context.database.journal, context.signals
    record = await retry_while_unavailable(
        lambda: journal.load(context.lease), "execution_load", lambda: signals.reason is not None
    )
    if record.cancel_requested:
        signals.stop(StopReason.CANCEL)
    context.parent_id = record.parent_id
    size = len(record.document) + len(record.inputs or "")
    rules, limits = context.node_runner.node_types.rules, context.node_runner.limits
    plan = await run_sized(size, plan_of, record, rules, limits.node_result_bytes)
    loop_states = plan.new_states()
    node_runner = replace(
        context.node_runner,
        inputs=record.inputs,
        request=record.request,
        # The executor updates both objects, so that templates and retries use current values.
        outcomes=record.outcomes,
        attempts=record.attempts,
        loop_around=loop_states.loop_variable,
    )
    services = ExecutorContext(
        lease=context.lease,
        journal=journal,
        runner=node_runner,
        signals=signals,
        clock=context.database.clock,
        publish=context.publish,
        limits=limits,
        deferral_turn=context.deferral_turn,
    )
    return await Executor(plan, loop_states, record, services).run()


def plan_of(record: JournalState, rules: TypeRules, max_result_bytes: int | None = None) -> Plan:
    """Return the plan of an execution for its stored document and inputs."""
    graph = read_graph(record.document, rules)
    inputs: Mapping[str, JsonValue] = read_stored(record.inputs) if record.inputs else {}
    start = start_as(record.trigger_type, graph, inputs)
    plan = Plan(graph, start, max_result_bytes)
    # Computed here, because this function runs outside the event loop for a large document.
    assert plan.counted is not None
    assert plan.scopes.bodies is not None
    return plan


def _as_state(outcome: ExecutionResult | StopReason) -> State[Any]:
    if outcome == StopReason.PARKED:
        return Completed(message="Parked: another flow run continues the execution")
    if isinstance(outcome, StopReason):
        return Cancelled(message=f"Released by this service: {outcome}")
    if outcome.status == ExecutionStatus.COMPLETED:
        return Completed(message="The workflow completed")
    if outcome.status == ExecutionStatus.CANCELLED:
        return Cancelled(message="Cancelled on request")
    return Failed(message=outcome.error)
