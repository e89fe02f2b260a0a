"""Trying a single node out: now, alone, without an execution."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from engine.document import Node, parse_document
from engine.errors import InvalidDocumentError, describe
from engine.json_encoding import size_within
from engine.json_values import JsonValue
from flows.nodes.node_runner import NodeRunner
from flows.nodes.result import NodeResult
from flows.nodes.retry_policy import RetryParkedError
from flows.prefect_adapter.runs import run_flow
from offload import MAX_INLINE_BYTES, run_sized

log = structlog.get_logger()


@dataclass(slots=True)
class NodePreview:
    """A node to try out, and what it gave: a result or an error."""

    node: Node
    input_data: JsonValue
    runner: NodeRunner
    result: NodeResult | None = None
    error: str | None = None


current_preview: ContextVar[NodePreview] = ContextVar("trial")
"""Set around the flow run by whoever starts it."""


@flow(name="node-trial", validate_parameters=False, persist_result=False)
async def node_preview_flow(execution_id: str) -> State[Any]:
    """Runs the current trial's node. There is no execution: ``execution_id`` is the node's id."""
    trial = current_preview.get()
    try:
        trial.result = await trial.runner.run(trial.node, trial.input_data, _ignore_retry)
    except RetryParkedError as later:
        # A caller waits for the answer, and a pause may take a day.
        trial.error = (
            f"{later.reason} (in an execution, the next attempt starts after a pause of "
            f"{later.pause_seconds:g} s)"
        )
        return Failed(message=trial.error)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is the answer
        trial.error = describe(error)
        return Failed(message=trial.error)
    return Completed(message=f"Node {execution_id} is done")


async def prepare_preview(
    runner: NodeRunner,
    node_id: str,
    node_type: str,
    node: Mapping[str, JsonValue],
    input_data: JsonValue,
) -> NodePreview:
    """A trial of ``node`` as the editor has it; its error is set where its config is refused.

    Raises:
        UnknownNodeTypeError: no handler is registered for ``node_type``.
    """
    runner.node_types.handler(node_type)
    size = size_within(node, MAX_INLINE_BYTES)
    size = MAX_INLINE_BYTES + 1 if size is None else size
    return await run_sized(size, _prepared, runner, node_id, node_type, node, input_data)


def _prepared(
    runner: NodeRunner,
    node_id: str,
    node_type: str,
    node: Mapping[str, JsonValue],
    input_data: JsonValue,
) -> NodePreview:
    try:
        (parsed,) = parse_document({"nodes": [{**node, "id": node_id, "type": node_type}]}).nodes
        problems = runner.node_types.check(parsed)
    except InvalidDocumentError as error:
        parsed = Node(node_id, node_type, node_id, {})
        problems = error.problems
    refused = "; ".join(problem.detail for problem in problems) or None
    return NodePreview(parsed, input_data, runner, error=refused)


async def run_preview(trial: NodePreview, client: PrefectClient) -> None:
    """Run a trial's node as a flow; the trial then has its result or its error."""
    current_preview.set(trial)
    try:
        state = await run_flow(node_preview_flow, trial.node.id, f"try {trial.node.label}", client)
    except Exception as error:  # noqa: BLE001 - whatever the client raises without a server
        log.warning("node_preview_failed", reason=f"{type(error).__name__}: {error}")
        trial.error = "the Prefect server (PREFECT_API_URL) cannot be reached; try again"
    else:
        if trial.result is None and trial.error is None:  # Prefect ended it
            trial.error = state.message or "Prefect ended the trial"


async def _ignore_retry(_attempt: int, _error: str) -> None:
    """A trial has no journal."""
