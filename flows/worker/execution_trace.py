"""Execution trace: starts the trace of a claimed execution, and ends it with its outcome."""

from datetime import datetime

from database.executions.journal_records import ExecutionResult
from database.executions.queue import ClaimedExecution
from flows.execution.signals import StopReason
from tracing import EarlierExecution, ExecutionTrace, RunEnd, TraceContext, TracedExecution, tracer


def trace_of(claimed: ClaimedExecution) -> ExecutionTrace:
    """Return the trace of a claimed execution."""
    origin, earlier = claimed.origin, claimed.origin.earlier
    past = None
    if earlier is not None:
        context = TraceContext.decode(earlier.trace_context)
        past = EarlierExecution(earlier.kind, earlier.execution_id, context)
    return tracer().execution(
        TracedExecution(
            claimed.lease.execution_id,
            origin.workflow_id,
            claimed.workflow_name,
            origin.organization_id,
            origin.trigger_type,
            _time(origin.started_at),
            TraceContext.decode(origin.trace_context),
            past,
            claimed.last_flow_run_id,
        )
    )


def end_trace(trace: ExecutionTrace, outcome: ExecutionResult | StopReason | None) -> None:
    """End the trace of a run whose execution has this outcome."""
    if isinstance(outcome, ExecutionResult):
        trace.end(RunEnd(outcome.status, outcome.error))
    else:
        trace.end(RunEnd(reason=str(outcome or "failed to start")))


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:  # another program wrote it
        return None
