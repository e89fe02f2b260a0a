"""The Prefect flow that every execution runs in."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from database import Database
from database.executions.journal_records import ExecutionResult, JournalState
from database.records import Lease
from engine.errors import LeaseLostError, describe
from engine.inputs import start_as
from engine.json_encoding import read_stored
from engine.json_values import JsonValue
from engine.plan import Plan
from engine.status import ExecutionStatus
from engine.validation import TypeRules, read_graph
from flows.execution.executor import Executor
from flows.execution.signals import ExecutionSignals, StopReason
from flows.nodes.node_runner import NodeRunner
from flows.nodes.progress import Publish, publish_nowhere
from flows.storage_retry import retry_while_unavailable
from offload import run_sized

log = structlog.get_logger()


@dataclass(slots=True)
class ExecutionContext:
    """What a flow run needs to carry one claimed execution, and how far it brought it."""

    lease: Lease
    database: Database
    node_runner: NodeRunner
    control: ExecutionSignals
    publish: Publish = publish_nowhere
    outcome: ExecutionResult | StopReason | None = None
    """Set when the walk is over; ``None`` while it has not been, or where it never began."""
    parent_id: str | None = None
    """The execution that called this one; set with its record."""


current_execution: ContextVar[ExecutionContext] = ContextVar("carrier")
"""Set around a flow run by whoever starts it; flow parameters carry ids only."""


@flow(name="workflow", validate_parameters=False, persist_result=False)
async def workflow_flow(execution_id: str) -> State[Any]:
    """Carries one execution from what its journal has to its end.

    The state it returns is for Prefect's eyes; the truth is in the journal.
    """
    carrier = current_execution.get()
    structlog.contextvars.bind_contextvars(execution_id=execution_id)
    try:
        carrier.outcome = await _carry(carrier)
    except LeaseLostError:
        carrier.outcome = StopReason.LEASE_LOST
    except Exception as error:
        if carrier.control.reason is not None:
            raise
        # Not a node's failure but ours: it would only come again, so the execution ends here.
        log.exception("execution_failed_internally")
        reason = f"The service could not carry the execution out: {describe(error)}"
        await carrier.database.journal.abandon(carrier.lease, reason)
        carrier.outcome = ExecutionResult(ExecutionStatus.FAILED, error=reason)
    return _as_state(carrier.outcome)


async def _carry(carrier: ExecutionContext) -> ExecutionResult | StopReason:
    journal, control = carrier.database.journal, carrier.control
    record = await retry_while_unavailable(
        lambda: journal.load(carrier.lease),
        "execution_load",
        lambda: control.reason is not None,
    )
    if record.cancel_requested:
        control.stop(StopReason.CANCEL)
    clock = carrier.database.clock
    # The walk's own outcomes, so that templates see what has ended by the time they are filled.
    carrier.parent_id = record.parent_id
    size = len(record.document) + len(record.inputs or "")
    rules, publish = carrier.node_runner.node_types.rules, carrier.publish
    most = carrier.node_runner.limits.node_result_bytes
    plan = await run_sized(size, plan_of, record, rules, most)
    states = plan.new_states()
    runner = replace(
        carrier.node_runner,
        inputs=record.inputs,
        request=record.request,
        outcomes=record.outcomes,
        begun=record.attempts,  # the walk's own, which grows with every parked retry
        loop_around=states.loop_variable,
    )
    walk = Executor(
        plan,
        states,
        record,
        carrier.lease,
        journal,
        runner,
        control,
        clock,
        publish=publish,
        limits=runner.limits,
    )
    return await walk.run()


def plan_of(record: JournalState, rules: TypeRules, max_result_bytes: int | None = None) -> Plan:
    """The plan of an execution, from the definition and the inputs it was submitted with."""
    graph = read_graph(record.document, rules)
    inputs: Mapping[str, JsonValue] = read_stored(record.inputs) if record.inputs else {}
    start = start_as(record.trigger_type, graph, inputs)
    plan = Plan(graph, start, max_result_bytes)
    # Here, because a large document is planned off the loop.
    assert plan.counted is not None
    assert plan.scopes.bodies is not None
    return plan


def _as_state(outcome: ExecutionResult | StopReason) -> State[Any]:
    if outcome == StopReason.PARKED:
        return Completed(message="Parked: another flow run goes on with it")
    if isinstance(outcome, StopReason):
        return Cancelled(message=f"Given back by this service: {outcome}")
    if outcome.status == ExecutionStatus.COMPLETED:
        return Completed(message="The workflow is done")
    if outcome.status == ExecutionStatus.CANCELLED:
        return Cancelled(message="Cancelled on request")
    return Failed(message=outcome.error)
