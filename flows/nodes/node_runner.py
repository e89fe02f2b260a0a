"""Node runner: runs the handler of one node with the options of its config and its type."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, partial
from time import perf_counter

from database.executions.inputs import Child
from engine.document import Node
from engine.errors import describe
from engine.json_encoding import encode_within, read_stored, size_within
from engine.json_values import MISSING, JsonValue, Missing
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.loops import FOR_EACH
from engine.node_run_key import NodeRunKey
from engine.options import NodeOptions
from engine.outcome import Outcome, Outcomes
from engine.parking import is_parking
from engine.redaction import hides_data
from engine.status import NodeStatus
from engine.subworkflow_calls import SUBWORKFLOW
from flows.nodes.attempts import AttemptPolicy, Attempts
from flows.nodes.permits import NodePermits, PermitParkedError
from flows.nodes.prefect_task import run_handler
from flows.nodes.progress import NodeProgress
from flows.nodes.result import NodeResult, result_check
from flows.nodes.retry_policy import OnRetry, RetryParkedError
from flows.nodes.subworkflows import SubworkflowCaller
from metrics import UNOBSERVED, Metrics, NodeRunResult
from offload import MAX_INLINE_BYTES, check_stop, count_read
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.registry import NodeTypes
from tracing import NO_TRACE, ExecutionTrace, NodeSpan, TracedNode

HTTP = "http"
"""Type of the nodes whose result has the status of a response."""

HAS_OWN_TIMEOUT = frozenset({"approval", "humanApproval", "waitForEvent", FOR_EACH, SUBWORKFLOW})
"""Types whose timeout applies to the wait after their handler; the handler itself is immediate."""


def _in_no_loop(_key: NodeRunKey) -> Missing:
    return MISSING


@dataclass(frozen=True, slots=True)
class NodeRunner:
    """Runs the nodes of one execution, or of a preview, as Prefect tasks."""

    node_types: NodeTypes
    settings: HandlerSettings
    execution_id: str | None = None
    inputs: str | None = None
    """The inputs of the execution, as a JSON string."""
    request: str | None = None
    """The webhook request that started the execution, as a JSON string."""
    outcomes: Outcomes = field(default_factory=dict[NodeRunKey, Outcome])
    """The outcomes of the nodes; the executor adds new ones."""
    loop_around: Callable[[NodeRunKey], JsonValue | Missing] = _in_no_loop
    """Returns the value of ``loop`` in the templates of a node."""
    calls: SubworkflowCaller | None = None
    """Prepares calls of other workflows; a preview has none, and makes no calls."""
    permits: NodePermits | None = None
    """Limits of several services; a preview has none."""
    limits: RunLimits = DEFAULT_RUN_LIMITS
    attempts: Mapping[NodeRunKey, int] = field(default_factory=dict[NodeRunKey, int])
    """Number of earlier attempts of each node; the executor updates it."""
    metrics: Metrics = UNOBSERVED
    trace: ExecutionTrace = NO_TRACE

    def interrupts(self, node: Node) -> bool:
        """Return whether the node's handler can be cancelled; a synchronous one cannot."""
        return self.node_types.handler(node.type).isasync

    def is_pure(self, node: Node) -> bool:
        """Return whether the node's handler has no effect outside."""
        return self.node_types.is_pure(node.type)

    def waiting_for_permits(self) -> int:
        """Return the number of node runs that wait for a permit."""
        return 0 if self.permits is None else self.permits.waiting()

    def park_waiting(self) -> None:
        """End the node runs that wait for a permit, and keep their requests."""
        if self.permits is not None:
            self.permits.park()

    async def run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        progress: NodeProgress | None = None,
        failed: int = 0,
    ) -> NodeResult:
        """Run all attempts of one node. Call it in a separate asyncio task.

        ``failed`` attempts were made before, and count as retries.

        Raises:
            RetryParkedError: If the next attempt must be made after a long pause.
            PermitParkedError: If it waited for a permit when ``park_waiting`` was called.
            Exception: If the last attempt failed.
        """

        async def count_retry(attempt: int, error: str) -> None:
            self.metrics.node_retried(node.type)
            span.attempt_failed(attempt, error)
            await on_retry(attempt, error)

        ended: NodeRunResult = "failed"
        reason: str | None = None
        status_code: object = None
        started = perf_counter()
        span = self.trace.node(self.traced(node))
        try:
            result = await self._run(node, input_data, count_retry, progress, failed, span)
            ended = "parked" if is_parking(result.result) else "completed"
            status_code = result.result.get("statusCode") if node.type == HTTP else None
        except RetryParkedError as error:
            self.metrics.node_retried(node.type)
            span.attempt_failed(failed + error.failed_attempts, error.reason)
            ended = "parked"
            raise
        except PermitParkedError:
            ended = "parked"
            raise
        except asyncio.CancelledError:
            ended = "cancelled"
            raise
        except Exception as error:
            reason, status_code = describe(error), getattr(error, "status_code", None)
            raise
        finally:
            self.metrics.node_ended(node.type, ended, perf_counter() - started)
            span.end_run(ended, reason, status_code if isinstance(status_code, int) else None)
        return result

    def traced(self, node: Node) -> TracedNode:
        """Return the data of a node run for its span."""
        attempt = self.attempts.get(NodeRunKey.parse(node.id), 0) + 1
        return TracedNode(node.id, node.shown_type, node.label, attempt)

    async def _run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        progress: NodeProgress | None,
        failed: int,
        span: NodeSpan,
    ) -> NodeResult:
        enter_node_run(replace(self._node_run(node.id), span=span))
        if progress is not None:
            progress.hides_output = hides_data(node)
        options = NodeOptions.model_validate(node.config)
        policy = self.node_types.retry_policy(node.type, options)
        timeout = None if node.type in HAS_OWN_TIMEOUT else options.timeout_seconds
        async with self._permit(node, options):
            result: NodeResult = await run_handler(
                self.node_types.handler(node.type),
                node.as_json(),
                input_data,
                AttemptPolicy(policy.retries, tuple(policy.delays), timeout),
                Attempts(
                    on_retry,
                    prepare=partial(self.settings.secrets.prepare, dict(node.config)),
                    progress=progress,
                    failed=failed,
                    max_retry_after_seconds=self.settings.max_retry_after_seconds,
                ),
                check=result_check(self.limits),
            )
        if self.calls is None or self.execution_id is None:
            return result
        attempt = self.attempts.get(NodeRunKey.parse(node.id), 0) + 1
        called = await self.calls.prepare(self.execution_id, node.id, attempt, result)
        return replace(called, child=_traced_child(called.child, span)) if called.child else called

    def _permit(self, node: Node, options: NodeOptions) -> AbstractAsyncContextManager[None]:
        if self.permits is None:
            return nullcontext()
        return self.permits.hold(node.id, node.type, options)

    def _node_run(self, node_id: str) -> NodeRun:
        key = NodeRunKey.parse(node_id)
        # Copied on first use, because a handler may change the values.
        return NodeRun(
            self.settings,
            self.execution_id,
            node_id,
            inputs=cache(self._inputs),
            request=cache(lambda: read_stored(self.request) if self.request else MISSING),
            output_of=cache(partial(self._output_of, key)),
            result_of=cache(partial(self._result_of, key)),
            loop=cache(lambda: _copied(self.loop_around(key))),
        )

    def _inputs(self) -> JsonValue:
        text = self.inputs or "{}"
        count_read(len(text))
        return read_stored(text)

    def _output_of(self, caller: NodeRunKey, node_id: str) -> JsonValue | Missing:
        outcome = self._outcome_of(caller, node_id)
        if outcome is None or outcome.status != NodeStatus.COMPLETED:
            return MISSING
        return _copied(outcome.result.get("outputData"))

    def _result_of(self, caller: NodeRunKey, node_id: str) -> JsonValue | Missing:
        outcome = self._outcome_of(caller, node_id)
        if outcome is None or outcome.status == NodeStatus.SKIPPED:
            return MISSING
        result = {key: value for key, value in outcome.result.items() if key != "outputData"}
        if outcome.status == NodeStatus.ERROR:
            result = {"success": False, "message": outcome.error, **result}
        return _copied(result)

    def _outcome_of(self, caller: NodeRunKey, node_id: str) -> Outcome | None:
        """Return the outcome of a node in the same loop item, or else outside the loop."""
        key, path = NodeRunKey.parse(node_id), caller.path
        while (outcome := self.outcomes.get(key.inside(path))) is None and path:
            path = path[:-1]
        return outcome


def _traced_child(child: Child, span: NodeSpan) -> Child:
    """Return a child execution whose trace has a link to the span of the node that calls it."""
    context = span.child_started(child.submission.execution_id)
    if context is None:
        return child
    return replace(child, submission=replace(child.submission, trace_context=context.encode()))


def _copied(value: JsonValue | Missing) -> JsonValue | Missing:
    """Return a copy that a handler may change; copy a large value outside the event loop."""
    if isinstance(value, Missing):
        return value
    size = size_within(value, MAX_INLINE_BYTES)
    if size is not None:
        count_read(size)
        return deepcopy(value)
    count_read(MAX_INLINE_BYTES + 1)
    return encode_within(value, sys.maxsize, check_stop)[1]
