"""Execution responses: built from the rows of the database.

The values of the rows have the types of the response models. Pydantic would validate each value
again, which takes most of the time of a poll, so that only the names come from the models.
"""

from operator import attrgetter
from typing import Any

from api.schemas.base import ApiModel
from api.schemas.executions import (
    CallbackStatusResponse,
    CurrentNodeResponse,
    ExecutionResponse,
    FailureWorkflowResponse,
    NodeLogResponse,
)
from api.schemas.payloads import object_json, payload_preview, raw_payload
from database.queries.log_pages import LogPage
from database.queries.polls import PolledState
from database.queries.results import CurrentNode, NodeLog
from engine.json_values import JsonValue
from engine.outcome import Progress
from engine.status import ExecutionStatus


class _Fields:
    """The fields of a response model that a row has as attributes of the same names."""

    def __init__(self, model: type[ApiModel], *others: str) -> None:
        fields = {name: field for name, field in model.model_fields.items() if name not in others}
        self._names = [field.alias or name for name, field in fields.items()]
        self._read = attrgetter(*fields)

    def of(self, row: object) -> dict[str, Any]:
        """Return the values of a row by their names in JSON."""
        return dict(zip(self._names, self._read(row), strict=True))


_CALLBACK = _Fields(CallbackStatusResponse)
_CURRENT_NODE = _Fields(CurrentNodeResponse)
_FAILURE_WORKFLOW = _Fields(FailureWorkflowResponse)
_EXECUTION = _Fields(
    ExecutionResponse,
    *("execution_id", "current_node", "queue_position", "callback", "progress"),
    "failure_workflow",
    *("logs", "final_output", "node_results"),
)
_NODE_LOG = _Fields(NodeLogResponse, "input_data", "output_data")


def state_json(state: PolledState, *, with_results: bool) -> bytes:
    """Return the response to a poll in JSON."""
    execution = state.execution
    started = execution.failure_workflow
    values = {
        "executionId": execution.id,
        **_EXECUTION.of(execution),
        "currentNode": current_node_values(execution.current_node),
        "failureWorkflow": None if started is None else _FAILURE_WORKFLOW.of(started),
        "queuePosition": state.queue_position,
        "callback": None if state.callback is None else _CALLBACK.of(state.callback),
        "progress": progress_values(execution.progress, execution.status),
    }
    raw = {
        "logs": _logs_json(state.logs),
        "finalOutput": raw_payload(execution.final_output),
    }
    if with_results:
        raw["nodeResults"] = raw_payload(execution.node_results)
    return object_json(values, raw).encode()


def log_page_json(execution_id: str, page: LogPage) -> bytes:
    """Return the response with a page of node runs in JSON."""
    values = {"executionId": execution_id, "nextSeq": page.next_seq, "hasMore": page.has_more}
    return object_json(values, {"logs": _logs_json(page.logs)}).encode()


def _logs_json(logs: list[NodeLog]) -> str:
    payloads = (
        {"inputData": raw_payload(log.input_data), "outputData": raw_payload(log.output_data)}
        for log in logs
    )
    rows = (object_json(_NODE_LOG.of(log), raw) for log, raw in zip(logs, payloads, strict=True))
    return f"[{','.join(rows)}]"


def node_log_values(log: NodeLog) -> dict[str, JsonValue]:
    """Return a node run, with limited payloads."""
    payloads = (payload_preview(log.input_data), payload_preview(log.output_data))
    return {**_NODE_LOG.of(log), "inputData": payloads[0], "outputData": payloads[1]}


def current_node_values(node: CurrentNode | None) -> dict[str, JsonValue] | None:
    """Return the running node; ``None`` if there is none."""
    return None if node is None else _CURRENT_NODE.of(node)


def progress_values(progress: Progress, status: str) -> dict[str, JsonValue]:
    """Return the counts of nodes, and a percentage that is 100 only if ``completed``."""
    return {
        "totalNodes": progress.total,
        "completedNodes": progress.completed,
        "failedNodes": progress.failed,
        "skippedNodes": progress.skipped,
        "percentage": progress.percentage(finished=status == ExecutionStatus.COMPLETED),
    }
