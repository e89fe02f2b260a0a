"""Node preview: runs a single node now, without an execution."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from engine.document import Node, parse_document
from engine.errors import InvalidDocumentError, TooManyPreviewsError, describe
from engine.json_encoding import size_within
from engine.json_values import JsonValue
from flows.nodes.node_runner import NodeRunner
from flows.nodes.retry_policy import RetryParkedError
from flows.prefect_adapter.runs import flow_argument, run_flow
from offload import MAX_INLINE_BYTES, run_counted

log = structlog.get_logger()

Submit = Callable[[Callable[[], Coroutine[Any, Any, None]]], Future[None]]
"""Runs a coroutine in the event loop and the Prefect context of the flows."""


@dataclass(slots=True)
class NodePreview:
    """A previewed node, and its result or its error."""

    node: Node
    input_data: JsonValue
    runner: NodeRunner
    result: Mapping[str, JsonValue] | None = None
    error: str | None = None


RunPreview = Callable[[NodePreview], Awaitable[None]]
"""Runs the node of a preview in the event loop of the flows, and sets its result or its error."""


class NodePreviews:
    """Runs previews, up to ``max_concurrent`` at a time."""

    def __init__(
        self, submit: Submit, runner: NodeRunner, max_concurrent: int, run: RunPreview | None = None
    ) -> None:
        self._submit = submit
        self._runner = runner
        self._run = run or run_preview
        self._max_concurrent = max_concurrent
        self._slots = threading.BoundedSemaphore(max_concurrent)

    async def preview_node(
        self,
        node_id: str,
        node_type: str,
        node: Mapping[str, JsonValue],
        input_data: JsonValue,
    ) -> NodePreview:
        """Run one node in the editor's format; return the preview with its result or its error.

        Raises:
            UnknownNodeTypeError: If no handler is registered for ``node_type``.
            TooManyPreviewsError: If MAX_CONCURRENT_NODE_PREVIEWS nodes run already.
        """
        self._runner.node_types.handler(node_type)
        size = size_within(node, MAX_INLINE_BYTES)
        size = MAX_INLINE_BYTES + 1 if size is None else size
        document = {"nodes": [{**node, "id": node_id, "type": node_type}]}
        fallback = Node(node_id, node_type, node_id, {})
        parsed, error = await run_counted(size, _parse, self._runner, document, fallback)
        preview = NodePreview(parsed, input_data, self._runner, error=error)
        if error is not None:
            return preview

        async def run() -> None:
            try:
                await self._run(preview)
            finally:
                # Here, because the node continues to run if the caller is cancelled.
                self._slots.release()

        if not self._slots.acquire(blocking=False):
            raise TooManyPreviewsError(self._max_concurrent)
        await asyncio.wrap_future(self._submit(run))
        return preview


@flow(name="node-preview", validate_parameters=False, persist_result=False)
async def node_preview_flow(execution_id: str) -> State[Any]:
    """Run the node of the current preview. ``execution_id`` is the node's id."""
    preview = flow_argument(NodePreview)
    try:
        ended = await preview.runner.run(preview.node, preview.input_data, _ignore_retry)
        preview.result = ended.result
    except RetryParkedError as retry:
        # The caller waits for the response, and the pause may last a day.
        preview.error = (
            f"{retry.reason} (in an execution, the next attempt starts after a pause of "
            f"{retry.pause_seconds:g} s)"
        )
        return Failed(message=preview.error)
    except Exception as error:  # noqa: BLE001 - the error of the handler is the preview's result
        preview.error = describe(error)
        return Failed(message=preview.error)
    return Completed(message=f"Node {execution_id} completed")


def _parse(
    runner: NodeRunner, document: Mapping[str, JsonValue], fallback: Node
) -> tuple[Node, str | None]:
    """Return the node of a document, and the reasons why it is invalid."""
    try:
        (node,) = parse_document(document).nodes
        problems = runner.node_types.check(node)
    except InvalidDocumentError as error:
        node, problems = fallback, error.problems
    return node, "; ".join(problem.detail for problem in problems) or None


async def run_preview(preview: NodePreview) -> None:
    """Run the node of a preview in this process, and set its result or its error."""
    node = preview.node
    try:
        state = await run_flow(node_preview_flow, node.id, f"try {node.label}", argument=preview)
    except Exception as error:  # noqa: BLE001 - the client raises many types without a server
        log.warning("node_preview_failed", reason=f"{type(error).__name__}: {error}")
        preview.error = "the Prefect server (PREFECT_API_URL) cannot be reached; try again"
    else:
        if preview.result is None and preview.error is None:  # Prefect ended the flow run.
            preview.error = state.message or "Prefect ended the preview"


async def _ignore_retry(_attempt: int, _error: str) -> None:
    """Record nothing, because a preview has no journal."""
