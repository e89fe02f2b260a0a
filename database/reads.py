"""Questions to the database: workflows, executions, logs. Reads never wait for a writer."""

import functools
import json
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
)

from database.node_rows import outcome_of
from database.reader import Reader
from database.records import (
    MANUAL,
    CurrentNode,
    Execution,
    NodeLog,
    PastRun,
    Payload,
    Workflow,
)
from database.tables import children, definitions, executions, logs, runs, workflows
from database.vault import Vault
from engine.errors import ExecutionNotFoundError, WorkflowNotFoundError
from engine.loops import FOR_EACH
from engine.plan import Progress
from engine.status import ExecutionStatus, NodeStatus

CURRENT = logs.alias("current")
"""The row of an execution's current node, for joins."""


def is_row_of(
    table: FromClause, execution_id: ColumnElement[str], node_id: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Whether a row of ``execution_logs`` is that of this node of this execution, by its key."""
    return table.c.id == execution_id + ":" + node_id


def current_node_columns() -> list[ColumnElement[Any]]:
    """What ``current_node`` reads of ``CURRENT``."""
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
        # Not all of them: nodeResults and inputs may be megabytes, and this is polled.
        executions.c.id,
        executions.c.workflowId,
        executions.c.organizationId,
        executions.c.status,
        executions.c.createdAt,
        executions.c.startedAt,
        executions.c.completedAt,
        executions.c.currentNodeId,
        executions.c.error,
        executions.c.finalOutput,
        runs.c.seq,
        runs.c.flowRunId,
        runs.c.rerunOf,
        runs.c.cancelRequestedAt,
        runs.c.totalNodes,
        runs.c.completedNodes,
        runs.c.failedNodes,
        runs.c.skippedNodes,
        children.c.parentId,
        children.c.nodeRow,
        *current_node_columns(),
    )
    .outerjoin(runs, runs.c.executionId == executions.c.id)
    .outerjoin(children, children.c.executionId == executions.c.id)
    .outerjoin(CURRENT, is_row_of(CURRENT, executions.c.id, executions.c.currentNodeId))
    .where(executions.c.id == bindparam("execution"))
)

_PAST_RUN = (
    select(
        executions.c.status,
        executions.c.workflowId,
        executions.c.organizationId,
        executions.c.inputs,
        executions.c.triggerType,
        runs.c.workflowName,
        definitions.c.document,
    )
    .join(runs, runs.c.executionId == executions.c.id)
    .join(definitions, definitions.c.hash == runs.c.definitionHash)
    .where(executions.c.id == bindparam("execution"))
)
_PAST_NODES = select(logs).where(logs.c.executionId == bindparam("execution")).order_by(logs.c.seq)


class Reads:
    """Reading what the journal and the main project wrote."""

    def __init__(self, reader: Reader, vault: Vault) -> None:
        self._reader = reader
        self._vault = vault

    async def workflow(self, workflow_id: str) -> Workflow:
        """One workflow.

        Raises:
            WorkflowNotFoundError: there is none of that id.
        """
        return await self._reader.run(lambda connection: workflow_of(connection, workflow_id))

    async def execution(self, execution_id: str) -> Execution:
        """One execution with its progress.

        Raises:
            ExecutionNotFoundError: there is none of that id.
        """
        return await self._reader.run(lambda connection: read_execution(connection, execution_id))

    async def organization_of(self, execution_id: str) -> str | None:
        """Whose an execution is.

        Raises:
            ExecutionNotFoundError: there is none of that id.
        """
        query = select(executions.c.organizationId).where(executions.c.id == execution_id)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        return row.organizationId

    async def execution_with_logs(
        self,
        execution_id: str,
        *,
        last: int | None = None,
        cut_at: int | None = None,
        after_seq: int = 0,
    ) -> tuple[Execution, list[NodeLog]]:
        """One execution and its node runs as they stood at one moment; see ``logs``.

        Raises:
            ExecutionNotFoundError: there is none of that id.
        """
        return await self._reader.run(
            lambda connection: (
                read_execution(connection, execution_id),
                read_logs(connection, execution_id, last, cut_at, after_seq),
            )
        )

    async def past_run(self, execution_id: str) -> PastRun:
        """What a rerun of an execution needs to know.

        Raises:
            ExecutionNotFoundError: there is none of that id, or it is none of this service's.
        """
        return await self._reader.run(
            lambda connection: _past_run(connection, execution_id, self._vault)
        )

    async def logs(
        self, execution_id: str, *, last: int | None = None, cut_at: int | None = None
    ) -> list[NodeLog]:
        """Node runs in the order of their start; only the ``last`` ones, payloads cut, if asked."""
        return await self._reader.run(
            lambda connection: read_logs(connection, execution_id, last, cut_at)
        )


def workflow_of(connection: Connection, workflow_id: str) -> Workflow:
    """One workflow; see ``Reads.workflow``."""
    if "\0" in workflow_id:
        raise WorkflowNotFoundError(workflow_id)  # PostgreSQL would not even be asked for it
    query = select(
        workflows.c.id, workflows.c.name, workflows.c.data, workflows.c.organizationId
    ).where(workflows.c.id == workflow_id)
    row = connection.execute(query).first()
    if row is None:
        raise WorkflowNotFoundError(workflow_id)
    return Workflow(row.id, row.name, as_text(row.data), row.organizationId)


def as_text(value: str | bytes) -> str:
    """A column's text: SQLite keeps whatever a writer put into it, a BLOB too."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _past_run(connection: Connection, execution_id: str, vault: Vault) -> PastRun:
    row = connection.execute(_PAST_RUN, {"execution": execution_id}).first()
    if row is None:
        raise ExecutionNotFoundError(execution_id)
    ended = connection.execute(_PAST_NODES, {"execution": execution_id}).all()
    return PastRun(
        execution_id,
        ExecutionStatus(row.status),
        row.workflowId,
        row.workflowName,
        row.organizationId,
        row.document,
        row.inputs,
        {node.nodeId: outcome for node in ended if (outcome := outcome_of(node, vault))},
        row.triggerType or MANUAL,
    )


def read_execution(connection: Connection, execution_id: str) -> Execution:
    """See ``Reads.execution``."""
    row = connection.execute(_EXECUTION, {"execution": execution_id}).first()
    if row is None:
        raise ExecutionNotFoundError(execution_id)
    return Execution(
        id=row.id,
        workflow_id=row.workflowId,
        organization_id=row.organizationId,
        status=ExecutionStatus(row.status or ExecutionStatus.PENDING),
        created_at=row.createdAt,
        started_at=row.startedAt,
        completed_at=row.completedAt,
        current_node_id=row.currentNodeId,
        current_node=current_node(row),
        error=row.error,
        final_output=row.finalOutput,
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
        parent_node_id=None if row.parentId is None else row.nodeRow[len(row.parentId) + 1 :],
    )


def current_node(row: Row[*tuple[Any, ...]]) -> CurrentNode | None:
    """The current node of a row that was joined with ``CURRENT``."""
    if row.currentNodeId is None:
        return None
    return CurrentNode(
        row.currentNodeId,
        row.currentType,
        row.currentLabel,
        row.currentSince,
        row.currentAttempt or 1,
        row.currentPercentage,
        row.currentMessage,
    )


def read_logs(
    connection: Connection,
    execution_id: str,
    last: int | None = None,
    cut_at: int | None = None,
    after_seq: int = 0,
) -> list[NodeLog]:
    """See ``Reads.logs``; only what changed after ``after_seq``."""
    wanted = {"execution": execution_id, "after": after_seq}
    rows = connection.execute(_logs_query(last, cut_at), wanted).all()
    return [_node_log(row) for row in reversed(rows)]


@functools.lru_cache
def _logs_query(last: int | None, cut_at: int | None) -> Select[*tuple[Any, ...]]:
    return (
        select(
            logs.c.nodeId,
            logs.c.nodeType,
            logs.c.nodeLabel,
            logs.c.status,
            cut(logs.c.inputData, cut_at).label("input"),
            func.length(logs.c.inputData).label("inputSize"),
            cut(logs.c.outputData, cut_at).label("output"),
            func.length(logs.c.outputData).label("outputSize"),
            logs.c.error,
            logs.c.lastError,
            logs.c.duration,
            logs.c.timestamp,
            logs.c.attempt,
            logs.c.seq,
            logs.c.waitUntil,
            logs.c.takenFrom,
            logs.c.childExecutionId,
            logs.c.startedAt,
            logs.c.endedAt,
            logs.c.waitedMs,
            logs.c.waitingSince,
            logs.c.nodePercentage,
            logs.c.nodeMessage,
            case((logs.c.status == NodeStatus.WAITING, logs.c.resultDetail)).label("asks"),
        )
        .where(logs.c.executionId == bindparam("execution"))
        .where(func.coalesce(logs.c.seq, 1) > bindparam("after"))
        .order_by(
            func.coalesce(logs.c.startSeq, 0).desc(), logs.c.timestamp.desc(), logs.c.id.desc()
        )
        .limit(last)
    )


def cut(column: ColumnElement[str], characters: int | None) -> ColumnElement[Any]:
    """The beginning of a payload; all of it with ``None``."""
    return column if characters is None else func.substr(column, literal(1), literal(characters))


def _node_log(row: Row[*tuple[Any, ...]]) -> NodeLog:
    return NodeLog(
        node_id=row.nodeId,
        node_type=row.nodeType,
        node_label=row.nodeLabel,
        status=row.status,
        input_data=None if row.input is None else Payload(row.input, row.inputSize),
        output_data=None if row.output is None else Payload(row.output, row.outputSize),
        error=row.error,
        last_error=row.lastError,
        duration=row.duration,
        timestamp=row.timestamp,
        started_at=row.startedAt,
        ended_at=row.endedAt,
        waited_ms=row.waitedMs,
        waiting_since=row.waitingSince,
        attempt=row.attempt or 1,
        seq=row.seq or 0,
        wait_until=row.waitUntil if row.status == NodeStatus.WAITING else None,
        taken_from=row.takenFrom,
        child_execution_id=row.childExecutionId,
        percentage=row.nodePercentage if reports(row.nodeType, row.status) else None,
        message=(row.nodeMessage if reports(row.nodeType, row.status) else None) or asked(row.asks),
    )


def reports(node_type: str | None, status: str | None) -> bool:
    """Whether what a node run last reported of itself is about now."""
    waits_for_items = status == NodeStatus.WAITING and node_type == FOR_EACH
    return waits_for_items or status == NodeStatus.RUNNING


def asked(detail: str | None) -> str | None:
    """What a node that waits asks, of what its handler returned."""
    return json.loads(detail).get("message") if detail else None
