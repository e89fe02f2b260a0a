"""Running one node: its handler, with the options of its config and of its type."""

import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, partial

from engine.document import Node
from engine.json_encoding import encode_within, read_stored, size_within
from engine.json_values import MISSING, JsonValue, Missing
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.loops import FOR_EACH
from engine.node_run_key import NodeRunKey
from engine.options import NodeOptions
from engine.outcome import Outcome, Outcomes
from engine.redaction import hides_data
from engine.status import NodeStatus
from engine.subworkflow_calls import SUBWORKFLOW
from flows.nodes.prefect_task import OnRetry, run_handler
from flows.nodes.progress import NodeProgress, node_progress
from flows.nodes.result import NodeResult, result_check
from flows.nodes.subworkflows import SubworkflowCaller
from offload import MAX_INLINE_BYTES, check_stop, count_read
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.registry import NodeTypes

HAS_OWN_TIME_LIMIT = frozenset({"approval", FOR_EACH, SUBWORKFLOW})
"""Types whose time limit is for what comes after their handler, which is done at once."""


def _in_no_loop(_key: NodeRunKey) -> Missing:
    return MISSING


@dataclass(frozen=True, slots=True)
class NodeRunner:
    """Runs the nodes of one execution, or one node that is tried out alone, as Prefect tasks."""

    node_types: NodeTypes
    settings: HandlerSettings
    execution_id: str | None = None
    inputs: str | None = None
    """What the execution was submitted with, as JSON text."""
    request: str | None = None
    """The request of the webhook delivery that started the execution, as JSON text."""
    outcomes: Outcomes = field(default_factory=dict[NodeRunKey, Outcome])
    """The nodes that are decided; it grows while the execution goes on."""
    loop_around: Callable[[NodeRunKey], JsonValue | Missing] = _in_no_loop
    """What templates of a node see as ``loop``."""
    calls: SubworkflowCaller | None = None
    """How other workflows are called; a node that is tried out alone calls none."""
    limits: RunLimits = DEFAULT_RUN_LIMITS
    begun: Mapping[NodeRunKey, int] = field(default_factory=dict[NodeRunKey, int])
    """The attempts that a node has had before it is run; the walk counts them."""

    def interrupts(self, node: Node) -> bool:
        """Whether the node's handler stops when it is cancelled; a synchronous one cannot."""
        return self.node_types.handler(node.type).isasync

    async def run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        reports: NodeProgress | None = None,
        failed: int = 0,
    ) -> NodeResult:
        """One node, all its attempts. Call it in an asyncio task of its own.

        ``failed`` attempts were made before, and count for the retries.

        Raises:
            RetryParkedError: If the next attempt is to be made after a long pause.
            Exception: what the last attempt raised.
        """
        enter_node_run(self._node_run(node.id))
        if reports is not None:
            reports.hides_output = hides_data(node)
        node_progress.set(reports)
        options = NodeOptions.model_validate(node.config)
        policy = self.node_types.retry_policy(node.type, options)
        limit = None if node.type in HAS_OWN_TIME_LIMIT else options.timeout_seconds
        result: NodeResult = await run_handler(
            self.node_types.handler(node.type),
            node.as_json(),
            input_data,
            retries=policy.retries,
            delays=policy.delays,
            timeout_seconds=limit,
            on_retry=on_retry,
            check=result_check(self.limits),
            prepare=partial(self.settings.secrets.prepare, dict(node.config)),
            failed=failed,
            max_retry_after_seconds=self.settings.max_retry_after_seconds,
        )
        if self.calls is None or self.execution_id is None:
            return result
        attempt = self.begun.get(NodeRunKey.parse(node.id), 0) + 1
        return await self.calls.prepare(self.execution_id, node.id, attempt, result)

    def _node_run(self, node_id: str) -> NodeRun:
        key = NodeRunKey.parse(node_id)
        # Copied when it is asked for, and once: a handler may change what it was given.
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

    def _output_of(self, seen_from: NodeRunKey, node_id: str) -> JsonValue | Missing:
        outcome = self._outcome_of(seen_from, node_id)
        if outcome is None or outcome.status != NodeStatus.COMPLETED:
            return MISSING
        return _copied(outcome.result.get("outputData"))

    def _result_of(self, seen_from: NodeRunKey, node_id: str) -> JsonValue | Missing:
        outcome = self._outcome_of(seen_from, node_id)
        if outcome is None or outcome.status == NodeStatus.SKIPPED:
            return MISSING
        result = {key: value for key, value in outcome.result.items() if key != "outputData"}
        if outcome.status == NodeStatus.ERROR:
            result = {"success": False, "message": outcome.error, **result}
        return _copied(result)

    def _outcome_of(self, seen_from: NodeRunKey, node_id: str) -> Outcome | None:
        """Return how a node ended: its run for the same item, or else outside of that loop."""
        key, path = NodeRunKey.parse(node_id), seen_from.path
        while (outcome := self.outcomes.get(key.inside(path))) is None and path:
            path = path[:-1]
        return outcome


def _copied(value: JsonValue | Missing) -> JsonValue | Missing:
    """Return a copy that a handler may change; a large one is not made on an event loop."""
    if isinstance(value, Missing):
        return value
    size = size_within(value, MAX_INLINE_BYTES)
    if size is not None:
        count_read(size)
        return deepcopy(value)
    count_read(MAX_INLINE_BYTES + 1)
    return encode_within(value, sys.maxsize, check_stop)[1]
