"""Execution queries: reads workflows, executions and logs."""

import functools
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Row,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
)

from database.connection.reader import Reader
from database.encryption import DataEncryption
from database.executions.node_runs import is_own_row, outcome_of
from database.executions.waiting_nodes import WAITING_FOR
from database.foreign_values import (
    integer_of,
    number_of,
    object_of,
    payload_of,
    required_text_of,
    text_of,
)
from database.payloads import characters_of, first_characters, full_text, whole_or_start
from database.queries.failures import read_failure_workflow
from database.queries.results import CurrentNode, Execution, FinishedExecution, NodeLog
from database.records import MANUAL, Workflow
from database.tables import children, definitions, executions, logs, runs, workflows
from engine.errors import ExecutionNotFoundError, WorkflowNotFoundError
from engine.loops import FOR_EACH
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from engine.status import ExecutionStatus, NodeStatus, WaitingFor

# A literal, because the databases use an index on an expression only without parameters.
_started = func.coalesce(logs.c.startSeq, literal_column("0", Integer))
CURRENT = logs.alias("current")
"""Row of an execution's current node, for joins."""


def is_row_of(
    table: FromClause, execution_id: ColumnElement[str], node_id: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return the condition that a row of ``execution_logs`` belongs to this node, by its key."""
    return table.c.id == execution_id + ":" + node_id


def current_node_columns() -> list[ColumnElement[Any]]:
    """Return the columns of ``CURRENT`` that ``current_node`` reads."""
    return [
        CURRENT.c.nodeType.label("currentType"),
        CURRENT.c.nodeLabel.label("currentLabel"),
        CURRENT.c.timestamp.label("currentSince"),
        CURRENT.c.attempt.label("currentAttempt"),
        CURRENT.c.nodePercentage.label("currentPercentage"),
        CURRENT.c.nodeMessage.label("currentMessage"),
    ]


_EXECUTION = (
    select(
        # Without payloads, because they may have megabytes and clients poll this query.
        executions.c.id,
        executions.c.workflowId,
        executions.c.organizationId,
        executions.c.status,
        executions.c.createdAt,
        executions.c.startedAt,
        executions.c.completedAt,
        executions.c.currentNodeId,
        executions.c.error,
        runs.c.seq,
        runs.c.flowRunId,
        runs.c.rerunOf,
        runs.c.failureOf,
        runs.c.cancelRequestedAt,
        runs.c.totalNodes,
        runs.c.completedNodes,
        runs.c.failedNodes,
        runs.c.skippedNodes,
        children.c.parentId,
        children.c.nodeRunId,
        *current_node_columns(),
    )
    .outerjoin(runs, runs.c.executionId == executions.c.id)
    .outerjoin(children, children.c.executionId == executions.c.id)
    .outerjoin(CURRENT, is_row_of(CURRENT, executions.c.id, executions.c.currentNodeId))
    .where(executions.c.id == bindparam("execution"))
)

_WORKFLOW = select(workflows).where(workflows.c.id == bindparam("workflow"))
_PAST_RUN = (
    select(
        executions.c.status,
        executions.c.workflowId,
        executions.c.organizationId,
        full_text(executions.c.inputs, executions.c.id).label("inputs"),
        executions.c.triggerType,
        runs.c.workflowName,
        definitions.c.document,
    )
    .join(runs, runs.c.executionId == executions.c.id)
    .join(definitions, definitions.c.hash == runs.c.definitionHash)
    .where(executions.c.id == bindparam("execution"))
)
_PAST_NODES = (
    select(
        *(column for column in logs.c if column.name != "outputData"),
        full_text(logs.c.outputData, logs.c.executionId).label("outputData"),
    )
    .where(logs.c.executionId == bindparam("execution"), is_own_row())
    .order_by(logs.c.seq)
)


class ExecutionQueries:
    """Reads executions and workflows."""

    def __init__(self, reader: Reader, encryption: DataEncryption) -> None:
        self._reader = reader
        self._encryption = encryption

    async def workflow(self, workflow_id: str) -> Workflow:
        """Return a workflow.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
        """
        query = functools.partial(read_workflow, workflow_id=workflow_id)
        return await self._reader.run(query, snapshot=False, brief=True)

    async def execution(self, execution_id: str, output_characters: int = 0) -> Execution:
        """Return an execution with its progress and the start of its final output.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """
        return await self._reader.run(
            lambda connection: read_execution(connection, execution_id, output_characters)
        )

    async def organization_of(self, execution_id: str) -> str | None:
        """Return the organization of an execution.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """
        query = select(executions.c.organizationId).where(executions.c.id == execution_id)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        return text_of(row.organizationId)

    async def past_run(self, execution_id: str) -> FinishedExecution:
        """Return an execution for a rerun.

        Raises:
            ExecutionNotFoundError: If this service has no execution with this id.
        """
        return await self._reader.run(
            lambda connection: _past_run(connection, execution_id, self._encryption)
        )

    async def logs(
        self, execution_id: str, *, last: int | None = None, cut_at: int | None = None
    ) -> list[NodeLog]:
        """Return the ``last`` node runs in the order of their start, with limited payloads."""
        return await self._reader.run(
            lambda connection: read_logs(connection, execution_id, last, cut_at)
        )


def read_workflow(
    connection: Connection, workflow_id: str, *conditions: ColumnElement[bool], lock: bool = False
) -> Workflow:
    """Return the workflow if it meets the conditions; see ``ExecutionQueries.workflow``."""
    if "\0" in workflow_id:
        raise WorkflowNotFoundError(workflow_id)  # PostgreSQL rejects the parameter
    query = _WORKFLOW.where(*conditions) if conditions else _WORKFLOW
    query = query.with_for_update() if lock else query
    row = connection.execute(query, {"workflow": workflow_id}).first()
    if row is None:
        raise WorkflowNotFoundError(workflow_id)
    return Workflow(
        required_text_of(row.id),
        required_text_of(row.name),
        required_text_of(row.data),
        text_of(row.organizationId),
        text_of(row.tags),
        text_of(row.createdAt),
        text_of(row.updatedAt),
    )


def _past_run(
    connection: Connection, execution_id: str, encryption: DataEncryption
) -> FinishedExecution:
    row = connection.execute(_PAST_RUN, {"execution": execution_id}).first()
    if row is None:
        raise ExecutionNotFoundError(execution_id)
    ended = connection.execute(_PAST_NODES, {"execution": execution_id}).all()
    return FinishedExecution(
        execution_id,
        text_of(row.status) or ExecutionStatus.PENDING,
        required_text_of(row.workflowId),
        row.workflowName,
        text_of(row.organizationId),
        row.document,
        text_of(row.inputs),
        {
            NodeRunKey.parse(node.nodeId): outcome
            for node in ended
            if (outcome := outcome_of(node, encryption))
        },
        text_of(row.triggerType) or MANUAL,
    )


@functools.lru_cache
def _execution_query(output_characters: int, results_characters: int) -> Select[*tuple[Any, ...]]:
    query = _EXECUTION
    for name, column, characters in (
        ("output", executions.c.finalOutput, output_characters),
        ("results", executions.c.nodeResults, results_characters),
    ):
        text = whole_or_start(column, executions.c.id, characters) if characters else null()
        size = characters_of(column, executions.c.id) if characters else null()
        query = query.add_columns(text.label(name), size.label(f"{name}Size"))
    return query


def read_execution(
    connection: Connection,
    execution_id: str,
    output_characters: int = 0,
    results_characters: int = 0,
) -> Execution:
    """Return an execution; ``output_characters`` and ``results_characters`` limit its payloads.

    Raises:
        ExecutionNotFoundError: If the execution does not exist.
    """
    query = _execution_query(output_characters, results_characters)
    row = connection.execute(query, {"execution": execution_id}).first()
    if row is None:
        raise ExecutionNotFoundError(execution_id)
    status = text_of(row.status) or ExecutionStatus.PENDING
    return Execution(
        id=required_text_of(row.id),
        workflow_id=required_text_of(row.workflowId),
        organization_id=text_of(row.organizationId),
        status=status,
        created_at=text_of(row.createdAt),
        started_at=text_of(row.startedAt),
        completed_at=text_of(row.completedAt),
        current_node_id=text_of(row.currentNodeId),
        current_node=current_node(row),
        error=text_of(row.error),
        final_output=payload_of(row.output, row.outputSize, output_characters),
        node_results=payload_of(row.results, row.resultsSize, results_characters),
        progress=Progress(
            row.totalNodes or 0,
            row.completedNodes or 0,
            row.failedNodes or 0,
            row.skippedNodes or 0,
        ),
        seq=row.seq or 0,
        flow_run_id=row.flowRunId,
        rerun_of=row.rerunOf,
        cancel_requested=row.cancelRequestedAt is not None,
        parent_execution_id=row.parentId,
        parent_node_id=None if row.parentId is None else row.nodeRunId[len(row.parentId) + 1 :],
        failure_of=row.failureOf,
        failure_workflow=(
            read_failure_workflow(connection, execution_id)
            if status == ExecutionStatus.FAILED
            else None
        ),
    )


def current_node(row: Row[*tuple[Any, ...]]) -> CurrentNode | None:
    """Return the current node of a row that was joined with ``CURRENT``."""
    if row.currentNodeId is None:
        return None
    return CurrentNode(
        required_text_of(row.currentNodeId),
        text_of(row.currentType),
        text_of(row.currentLabel),
        text_of(row.currentSince),
        integer_of(row.currentAttempt) or 1,
        integer_of(row.currentPercentage),
        text_of(row.currentMessage),
    )


def read_logs(
    connection: Connection,
    execution_id: str,
    last: int | None = None,
    cut_at: int | None = None,
) -> list[NodeLog]:
    """Return node runs; see ``ExecutionQueries.logs``."""
    rows = connection.execute(_logs_query(last, cut_at), {"execution": execution_id}).all()
    return [node_log(row, cut_at) for row in reversed(rows)]


def log_columns(cut_at: int | None) -> list[ColumnElement[Any]]:
    """Return the columns that ``node_log`` reads; ``cut_at`` characters of each payload."""
    return [
        logs.c.nodeId,
        logs.c.nodeType,
        logs.c.nodeLabel,
        logs.c.status,
        first_characters(logs.c.inputData, logs.c.executionId, cut_at).label("input"),
        characters_of(logs.c.inputData, logs.c.executionId).label("inputSize"),
        first_characters(logs.c.outputData, logs.c.executionId, cut_at).label("output"),
        characters_of(logs.c.outputData, logs.c.executionId).label("outputSize"),
        logs.c.error,
        logs.c.lastError,
        logs.c.duration,
        logs.c.timestamp,
        logs.c.attempt,
        logs.c.seq,
        logs.c.waitUntil,
        WAITING_FOR.label("waitingFor"),
        logs.c.reusedFrom,
        logs.c.childExecutionId,
        logs.c.startedAt,
        logs.c.endedAt,
        logs.c.waitedMs,
        logs.c.waitingSince,
        logs.c.nodePercentage,
        logs.c.nodeMessage,
        case((logs.c.status == NodeStatus.WAITING, logs.c.resultDetail)).label("question"),
    ]


@functools.lru_cache
def _logs_query(last: int | None, cut_at: int | None) -> Select[*tuple[Any, ...]]:
    return (
        select(*log_columns(cut_at))
        .where(logs.c.executionId == bindparam("execution"))
        .order_by(_started.desc(), logs.c.timestamp.desc(), logs.c.id.desc())
        .limit(last)
    )


def node_log(row: Row[*tuple[Any, ...]], cut_at: int | None) -> NodeLog:
    """Return the node run of a row whose payloads were read up to ``cut_at`` characters."""
    node_type, status = text_of(row.nodeType), text_of(row.status)
    reports_progress = _has_current_progress(node_type, status)
    return NodeLog(
        node_id=text_of(row.nodeId),
        node_type=node_type,
        node_label=text_of(row.nodeLabel),
        status=status,
        input_data=payload_of(row.input, row.inputSize, cut_at),
        output_data=payload_of(row.output, row.outputSize, cut_at),
        error=text_of(row.error),
        last_error=text_of(row.lastError),
        duration=number_of(row.duration),
        timestamp=text_of(row.timestamp),
        started_at=text_of(row.startedAt),
        ended_at=text_of(row.endedAt),
        waited_ms=integer_of(row.waitedMs),
        waiting_since=text_of(row.waitingSince),
        attempt=integer_of(row.attempt) or 1,
        seq=integer_of(row.seq) or 0,
        wait_until=text_of(row.waitUntil) if status == NodeStatus.WAITING else None,
        waiting_for=None if row.waitingFor is None else WaitingFor(row.waitingFor),
        reused_from=text_of(row.reusedFrom),
        child_execution_id=text_of(row.childExecutionId),
        percentage=integer_of(row.nodePercentage) if reports_progress else None,
        message=(text_of(row.nodeMessage) if reports_progress else None)
        or _question_of(row.question),
    )


def _has_current_progress(node_type: str | None, status: str | None) -> bool:
    """Return whether the last reported progress of a node run is current."""
    waits_for_items = status == NodeStatus.WAITING and node_type == FOR_EACH
    return waits_for_items or status == NodeStatus.RUNNING


def _question_of(detail: object) -> str | None:
    """Return the question of a waiting node from its handler's result."""
    message = object_of(detail).get("message")
    return None if message is None else text_of(message)
