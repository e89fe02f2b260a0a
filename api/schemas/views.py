"""Rows of the database as the answers show them."""

from collections.abc import Mapping

from api.schemas.executions import (
    CallbackStatusResponse,
    CurrentNodeResponse,
    ExecutionResponse,
    NodeLogResponse,
    ProgressResponse,
)
from database.executions.callbacks import CallbackStatus
from database.foreign_values import json_of, raw_json_of
from database.queries.log_pages import LogPage
from database.queries.results import CurrentNode, Execution, NodeLog
from database.records import Payload
from engine.json_values import JsonValue, encode_json
from engine.plan import Progress
from engine.status import ExecutionStatus

PAYLOAD_PREVIEW_CHARS = 8_192
"""Characters of a payload's JSON that the polling answer carries; ``/logs`` has it whole."""


def execution_response(
    execution: Execution,
    logs: list[NodeLog],
    queue_position: int | None,
    callback: CallbackStatus | None,
) -> ExecutionResponse:
    """The polling answer, without payloads of its own."""
    return ExecutionResponse(
        execution_id=execution.id,
        workflow_id=execution.workflow_id,
        organization_id=execution.organization_id,
        status=execution.status,
        created_at=execution.created_at,
        started_at=execution.started_at,
        completed_at=execution.completed_at,
        current_node_id=execution.current_node_id,
        current_node=current_node_response(execution.current_node),
        seq=execution.seq,
        error=execution.error,
        queue_position=queue_position,
        rerun_of=execution.rerun_of,
        parent_execution_id=execution.parent_execution_id,
        parent_node_id=execution.parent_node_id,
        flow_run_id=execution.flow_run_id,
        cancel_requested=execution.cancel_requested,
        callback=None if callback is None else callback_response(callback),
        progress=progress_response(execution.progress, execution.status),
        logs=[log_response(log) for log in logs],
        final_output=None,
    )


def execution_json(view: ExecutionResponse, execution: Execution, *, with_results: bool) -> bytes:
    """Return the polling response. Payloads that are valid JSON are copied, not built again."""
    raw = {"finalOutput": raw_payload(execution.final_output)}
    if with_results:
        raw["nodeResults"] = raw_payload(execution.node_results)
    fields = view.model_dump(by_alias=True, exclude={"final_output", "node_results"})
    return _object_json(fields, raw).encode()


def log_page_json(execution_id: str, page: LogPage) -> bytes:
    """Return the response with a page of node logs."""
    rows = ",".join(map(_log_json, page.logs))
    fields = {"executionId": execution_id, "nextSeq": page.next_seq, "hasMore": page.has_more}
    return _object_json(fields, {"logs": f"[{rows}]"}).encode()


def _log_json(log: NodeLog) -> str:
    view = log_response(log, with_payloads=False)
    fields = view.model_dump(by_alias=True, exclude={"input_data", "output_data"})
    raw = {"inputData": raw_payload(log.input_data), "outputData": raw_payload(log.output_data)}
    return _object_json(fields, raw)


def _object_json(fields: Mapping[str, JsonValue], raw: Mapping[str, str]) -> str:
    """Return an object as JSON text; the values of ``raw`` are JSON texts already."""
    more = "".join(f',"{name}":{text}' for name, text in raw.items())
    return f"{encode_json(dict(fields))[:-1]}{more}}}"


def raw_payload(payload: Payload | None) -> str:
    """Return a payload as JSON text; see ``payload_preview``."""
    if payload is None:
        return "null"
    return encode_json(payload_preview(payload)) if payload.cut else raw_json_of(payload.text)


def current_node_response(node: CurrentNode | None) -> CurrentNodeResponse | None:
    """The node that runs, if one does."""
    if node is None:
        return None
    return CurrentNodeResponse(
        node_id=node.node_id,
        node_type=node.node_type,
        node_label=node.node_label,
        started_at=node.started_at,
        attempt=node.attempt,
        percentage=node.percentage,
        message=node.message,
    )


def progress_response(progress: Progress, status: str) -> ProgressResponse:
    """The counts, and the percentage that is 100 exactly when ``completed``."""
    return ProgressResponse(
        total_nodes=progress.total,
        completed_nodes=progress.completed,
        failed_nodes=progress.failed,
        skipped_nodes=progress.skipped,
        percentage=progress.percentage(finished=status == ExecutionStatus.COMPLETED),
    )


def callback_response(callback: CallbackStatus) -> CallbackStatusResponse:
    """How far a callback is."""
    return CallbackStatusResponse(
        url=callback.url,
        attempts=callback.attempts,
        delivered=callback.delivered_at is not None,
        delivered_at=callback.delivered_at,
        next_attempt_at=callback.next_attempt_at,
        abandoned_at=callback.abandoned_at,
        last_status=callback.last_status,
        last_error=callback.last_error,
    )


def log_response(log: NodeLog, *, with_payloads: bool = True) -> NodeLogResponse:
    """One node run; a payload that was cut is an object that says so."""
    return NodeLogResponse(
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
        input_data=payload_preview(log.input_data) if with_payloads else None,
        output_data=payload_preview(log.output_data) if with_payloads else None,
        error=log.error,
        attempt=log.attempt,
        last_error=log.last_error,
        wait_until=log.wait_until,
        reused_from=log.reused_from,
        child_execution_id=log.child_execution_id,
        percentage=log.percentage,
        message=log.message,
        seq=log.seq,
    )


def payload_preview(payload: Payload | None) -> JsonValue:
    """A payload's value, or an object that says how much of it was cut."""
    if payload is None:
        return None
    if payload.cut:
        return {"truncated": True, "size": payload.size, "preview": payload.text}
    return json_value(payload.text)


def json_value(text: str | None) -> JsonValue:
    """A JSON column's value; a text that another writer put there stays a text."""
    return json_of(text)
