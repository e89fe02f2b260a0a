"""Running one node: its handler, with the options of its config and of its type."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache

from engine.document import Node
from engine.options import NodeOptions
from engine.plan import Outcome, Outcomes
from engine.status import NodeStatus
from engine.values import MISSING, JsonValue, Missing
from flows.dispatch_node import OnRetry, run_handler
from flows.node_result import NodeResult, checked_result
from flows.reports import NodeReports, node_reports
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_types import NodeTypes

APPROVAL = "approval"


@dataclass(frozen=True, slots=True)
class NodeRunner:
    """Runs the nodes of one execution, or one node that is tried out alone, as Prefect tasks."""

    node_types: NodeTypes
    settings: HandlerSettings
    execution_id: str | None = None
    inputs: str | None = None
    """What the execution was submitted with, as JSON text."""
    outcomes: Outcomes = field(default_factory=dict[str, Outcome])
    """The nodes that are decided; it grows while the execution goes on."""

    def interrupts(self, node: Node) -> bool:
        """Whether the node's handler stops when it is cancelled; a synchronous one cannot."""
        return self.node_types.handler(node.type).isasync

    async def run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        reports: NodeReports | None = None,
    ) -> NodeResult:
        """One node, all its attempts. Call it in an asyncio task of its own.

        Raises:
            Exception: what the last attempt raised.
        """
        enter_node_run(self._node_run(node.id))
        node_reports.set(reports)
        options = NodeOptions.model_validate(node.config)
        await self.settings.secrets.prepare(dict(node.config))
        policy = self.node_types.retry_policy(node.type, options)
        # An approval's time limit is for people; its handler is done at once.
        limit = None if node.type == APPROVAL else options.timeout_seconds
        return await run_handler(
            self.node_types.handler(node.type),
            node.as_json(),
            input_data,
            retries=policy.retries,
            delays=policy.delays,
            timeout_seconds=limit,
            on_retry=on_retry,
            check=checked_result,
        )

    def _node_run(self, node_id: str) -> NodeRun:
        # Copied when it is asked for, and once: a handler may change what it was given.
        return NodeRun(
            self.settings,
            self.execution_id,
            node_id,
            inputs=cache(lambda: json.loads(self.inputs or "{}")),
            output_of=cache(self._output_of),
        )

    def _output_of(self, node_id: str) -> JsonValue | Missing:
        outcome = self.outcomes.get(node_id)
        if outcome is None or outcome.status != NodeStatus.COMPLETED:
            return MISSING
        return deepcopy(outcome.result.get("outputData"))
