"""Rows of the database as the answers show them."""

import json

from api.schemas import CallbackView, CurrentNodeView, ExecutionView, NodeLogView, ProgressView
from database.callbacks import CallbackState
from database.records import CurrentNode, Execution, NodeLog, Payload
from engine.plan import Progress
from engine.status import ExecutionStatus
from engine.values import JsonValue

CUT_AT = 8_192
"""Characters of a payload's JSON that the polling answer carries; ``/logs`` has it whole."""


def execution_view(
    execution: Execution,
    logs: list[NodeLog],
    queue_position: int | None,
    callback: CallbackState | None,
) -> ExecutionView:
    """The polling answer."""
    return ExecutionView(
        execution_id=execution.id,
        workflow_id=execution.workflow_id,
        organization_id=execution.organization_id,
        status=execution.status,
        created_at=execution.created_at,
        started_at=execution.started_at,
        completed_at=execution.completed_at,
        current_node_id=execution.current_node_id,
        current_node=current_node_view(execution.current_node),
        seq=execution.seq,
        error=execution.error,
        queue_position=queue_position,
        rerun_of=execution.rerun_of,
        parent_execution_id=execution.parent_execution_id,
        parent_node_id=execution.parent_node_id,
        flow_run_id=execution.flow_run_id,
        cancel_requested=execution.cancel_requested,
        callback=None if callback is None else callback_view(callback),
        progress=progress_view(execution.progress, execution.status),
        logs=[log_view(log) for log in logs],
        final_output=json_value(execution.final_output),
    )


def current_node_view(node: CurrentNode | None) -> CurrentNodeView | None:
    """The node that runs, if one does."""
    if node is None:
        return None
    return CurrentNodeView(
        node_id=node.node_id,
        node_type=node.node_type,
        node_label=node.node_label,
        started_at=node.started_at,
        attempt=node.attempt,
        percentage=node.percentage,
        message=node.message,
    )


def progress_view(progress: Progress, status: ExecutionStatus) -> ProgressView:
    """The counts, and the percentage that is 100 exactly when ``completed``."""
    return ProgressView(
        total_nodes=progress.total,
        completed_nodes=progress.completed,
        failed_nodes=progress.failed,
        skipped_nodes=progress.skipped,
        percentage=progress.percentage(finished=status == ExecutionStatus.COMPLETED),
    )


def callback_view(callback: CallbackState) -> CallbackView:
    """How far a callback is."""
    return CallbackView(
        url=callback.url,
        attempts=callback.attempts,
        delivered=callback.delivered_at is not None,
        delivered_at=callback.delivered_at,
        next_attempt_at=callback.next_attempt_at,
        given_up_at=callback.given_up_at,
        last_status=callback.last_status,
        last_error=callback.last_error,
    )


def log_view(log: NodeLog) -> NodeLogView:
    """One node run; a payload that was cut is an object that says so."""
    return NodeLogView(
        node_id=log.node_id,
        node_type=log.node_type,
        node_label=log.node_label,
        status=log.status,
        duration=log.duration,
        timestamp=log.timestamp,
        started_at=log.started_at,
        ended_at=log.ended_at,
        waited_ms=log.waited_ms,
        waiting_since=log.waiting_since,
        input_data=payload_view(log.input_data),
        output_data=payload_view(log.output_data),
        error=log.error,
        attempt=log.attempt,
        last_error=log.last_error,
        wait_until=log.wait_until,
        taken_from=log.taken_from,
        child_execution_id=log.child_execution_id,
        percentage=log.percentage,
        message=log.message,
        seq=log.seq,
    )


def payload_view(payload: Payload | None) -> JsonValue:
    """A payload's value, or an object that says how much of it was cut."""
    if payload is None:
        return None
    if payload.cut:
        return {"truncated": True, "size": payload.size, "preview": payload.text}
    return json_value(payload.text)


def json_value(text: str | None) -> JsonValue:
    """A JSON column's value; a text that another writer put there stays a text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
