"""Origins: why executions run, for their traces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from database.foreign_values import text_of
from database.tables import runs
from engine.failures import FAILURE


@dataclass(frozen=True, slots=True)
class EarlierExecution:
    """An execution that led to another one: the one that it repeats, or whose failure it handles.

    ``kind`` is ``rerun`` or ``failure``. ``trace_context`` is encoded, as in ``ExecutionOrigin``.
    """

    kind: str
    execution_id: str
    trace_context: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionOrigin:
    """Why an execution runs."""

    workflow_id: str
    organization_id: str | None = None
    trigger_type: str | None = None
    started_at: str | None = None
    """Start of its first run, as a timestamp."""
    trace_context: str | None = None
    """The place in a trace from which it was started, as ``tracing.TraceContext`` encodes it."""
    earlier: EarlierExecution | None = None


def origins_of(
    connection: Connection, claimed: Sequence[Any], started: Mapping[str, Any]
) -> dict[str, ExecutionOrigin]:
    """Return the origins of claimed executions by id.

    ``claimed`` are rows of ``orchestrator_runs``, and ``started`` rows of ``workflow_executions``.
    """
    earlier = {
        row.executionId: found
        for row in claimed
        if row.executionId in started and (found := _earlier(row, started[row.executionId]))
    }
    contexts: dict[str, str | None] = {}
    if earlier:
        ids = {found.execution_id for found in earlier.values()}
        query = select(runs.c.executionId, runs.c.traceContext).where(runs.c.executionId.in_(ids))
        contexts = {row.executionId: row.traceContext for row in connection.execute(query)}
    origins: dict[str, ExecutionOrigin] = {}
    for row in claimed:
        execution, found = started.get(row.executionId), earlier.get(row.executionId)
        if execution is None:
            continue
        if found is not None:
            found = EarlierExecution(
                found.kind, found.execution_id, contexts.get(found.execution_id)
            )
        origins[row.executionId] = ExecutionOrigin(
            execution.workflowId,
            text_of(execution.organizationId),
            text_of(execution.triggerType),
            text_of(execution.startedAt),
            row.traceContext,
            found,
        )
    return origins


def _earlier(run: Any, execution: Any) -> EarlierExecution | None:
    if run.rerunOf is not None:
        return EarlierExecution("rerun", run.rerunOf)
    # Children of a failure workflow have ``failureOf`` too.
    if run.failureOf is not None and execution.triggerType == FAILURE:
        return EarlierExecution(FAILURE, run.failureOf)
    return None
