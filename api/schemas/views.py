"""Execution responses: built from the rows of the database."""

from api.schemas.executions import (
    WITHOUT_PAYLOADS,
    CurrentNodeResponse,
    ExecutionResponse,
    NodeLogResponse,
    ProgressResponse,
)
from api.schemas.payloads import object_json, raw_payload
from database.executions.callbacks import CallbackStatus
from database.queries.log_pages import LogPage
from database.queries.results import CurrentNode, Execution, NodeLog
from engine.outcome import Progress
from engine.status import ExecutionStatus

_PAYLOADS = {"input_data", "output_data"}


def execution_response(
    execution: Execution,
    logs: list[NodeLog],
    queue_position: int | None,
    callback: CallbackStatus | None,
) -> ExecutionResponse:
    """Return the response to a poll, without the payloads of the execution."""
    return ExecutionResponse.of_row(
        execution,
        execution_id=execution.id,
        queue_position=queue_position,
        callback=callback,
        progress=progress_response(execution.progress, execution.status),
        logs=logs,
        final_output=None,
        node_results=None,
    )


def execution_json(
    response: ExecutionResponse, execution: Execution, *, with_results: bool
) -> bytes:
    """Return the response to a poll in JSON, with the payloads of the execution."""
    raw = {"finalOutput": raw_payload(execution.final_output)}
    if with_results:
        raw["nodeResults"] = raw_payload(execution.node_results)
    values = response.model_dump(by_alias=True, exclude={"final_output", "node_results"})
    return object_json(values, raw).encode()


def log_page_json(execution_id: str, page: LogPage) -> bytes:
    """Return the response with a page of node runs in JSON."""
    rows = ",".join(map(_log_json, page.logs))
    values = {"executionId": execution_id, "nextSeq": page.next_seq, "hasMore": page.has_more}
    return object_json(values, {"logs": f"[{rows}]"}).encode()


def _log_json(log: NodeLog) -> str:
    response = NodeLogResponse.of_row(log, context=WITHOUT_PAYLOADS)
    values = response.model_dump(by_alias=True, exclude=_PAYLOADS)
    raw = {"inputData": raw_payload(log.input_data), "outputData": raw_payload(log.output_data)}
    return object_json(values, raw)


def current_node_response(node: CurrentNode | None) -> CurrentNodeResponse | None:
    """Return the running node; ``None`` if there is none."""
    return None if node is None else CurrentNodeResponse.of_row(node)


def progress_response(progress: Progress, status: str) -> ProgressResponse:
    """Return the counts of nodes, and a percentage that is 100 only if ``completed``."""
    return ProgressResponse(
        total_nodes=progress.total,
        completed_nodes=progress.completed,
        failed_nodes=progress.failed,
        skipped_nodes=progress.skipped,
        percentage=progress.percentage(finished=status == ExecutionStatus.COMPLETED),
    )
