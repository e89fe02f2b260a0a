"""Calls: what a node says that it calls becomes a submission, or the reason why it cannot be."""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from database import Database
from database.executions.inline_workflows import is_inline_workflow_id
from database.executions.inputs import Child, Submission
from database.records import Workflow
from engine.errors import InvalidRequestError, NodeError, WorkflowNotFoundError
from engine.graph import TRIGGER, Graph
from engine.inputs import start_as
from engine.json_values import JsonValue, dump_json, encode_json
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.parking import PARK
from engine.plan import Plan
from engine.subworkflow_calls import CALL, SUBWORKFLOW, call_of
from engine.validation import read_and_validate
from flows.nodes.result import NodeResult
from flows.storage_retry import retry_while_unavailable
from offload import run_sized
from tasks.registry import NodeTypes

T = TypeVar("T")

_NAMESPACE = uuid.UUID("7c2f3f0e-5b0a-4c1e-9d0f-2b1a6f5f7d11")  # any, the same for ever


@dataclass(frozen=True, slots=True)
class SubworkflowCaller:
    """Prepares what the nodes of executions call; stored it is with the parking of the node."""

    database: Database
    node_types: NodeTypes
    most_deep: int
    most_of_a_root: int
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS

    async def prepare(
        self, execution_id: str, node_id: str, attempt: int, result: NodeResult
    ) -> NodeResult:
        """``result`` with the child that it calls, if it calls one.

        Raises:
            NodeError: it cannot be called; another attempt would fare no better.
        """
        park = result.result.get(PARK)
        call = call_of(park)
        if call is None:
            return result
        child_id = str(uuid.uuid5(_NAMESPACE, f"{execution_id}:{node_id}:{attempt}"))
        child = await self._child(execution_id, child_id, call)
        # The child has its inputs; beside the node they would be there twice.
        begun = {"workflowId": call["workflowId"], "executionId": child_id}
        parked = {**cast("Mapping[str, JsonValue]", park), CALL: begun}
        detail: dict[str, JsonValue] = json.loads(result.detail or "{}")
        return replace(
            result,
            detail=dump_json({**detail, PARK: parked}),
            result={**result.result, PARK: parked},
            child=child,
        )

    async def _child(
        self, execution_id: str, child_id: str, call: Mapping[str, JsonValue]
    ) -> Child:
        workflow_id = cast("str", call["workflowId"])
        children, queries = self.database.child_executions, self.database.queries
        caller = await _retry_while_unavailable(lambda: children.caller(execution_id))
        try:
            workflow = await _retry_while_unavailable(lambda: queries.workflow(workflow_id))
        except WorkflowNotFoundError as error:
            raise _refusal(str(error)) from None
        seen = (caller.organization_id, caller.workflow_organization_id)
        if workflow.organization_id not in seen or is_inline_workflow_id(workflow_id):
            # What others have is answered like what does not exist.
            raise _refusal(str(WorkflowNotFoundError(workflow_id)))
        if caller.depth >= self.most_deep:
            raise _refusal(await self._too_deep(execution_id, workflow))
        if caller.called_of_root >= self.most_of_a_root:
            raise _refusal(
                f"an execution may lead to {self.most_of_a_root} others by calls "
                f"(MAX_SUBWORKFLOW_EXECUTIONS), and execution {caller.root_id} has"
            )
        try:
            normalized = await run_sized(
                len(workflow.data),
                read_and_validate,
                workflow.data,
                self.node_types.rules,
                self.limits,
            )
            graph = normalized.graph
            inputs = _inputs(graph, call)
            plan = Plan(graph, start_as(SUBWORKFLOW, graph, inputs))
        except InvalidRequestError as error:
            name = f"'{workflow.name}' ({workflow_id})"
            raise _refusal(f"workflow {name} cannot be called: {error}") from None
        submission = Submission(
            execution_id=child_id,
            workflow_id=workflow_id,
            workflow_name=workflow.name,
            organization_id=caller.organization_id,
            document=workflow.data,
            inputs=None if inputs is None else encode_json(dict(inputs)),
            total_nodes=len(plan.counted),
            trigger_type=SUBWORKFLOW,
        )
        return Child(submission, caller.depth + 1, caller.root_id)

    async def _too_deep(self, execution_id: str, workflow: Workflow) -> str:
        chain = await _retry_while_unavailable(
            lambda: self.database.child_executions.chain(execution_id)
        )
        names = [f"'{name}' ({its_id})" for name, its_id in [*chain, (workflow.name, workflow.id)]]
        return (
            f"workflows may call one another {self.most_deep} deep (MAX_SUBWORKFLOW_DEPTH), "
            f"and this call would go deeper: {' → '.join(names)}"
        )


def _inputs(graph: Graph, call: Mapping[str, JsonValue]) -> Mapping[str, JsonValue] | None:
    """What the child is submitted with: what was said, or the payload for each of its triggers."""
    inputs: Mapping[str, JsonValue] | None = call.get("inputs")
    payload: JsonValue = call.get("payload")
    if inputs is not None or payload is None:
        return inputs
    return {node.id: payload for node in graph.roots if node.type == TRIGGER} or None


def _refusal(reason: str) -> NodeError:
    return NodeError(reason, retryable=False)


async def _retry_while_unavailable(operation: Callable[[], Awaitable[T]]) -> T:
    """Until the database answers, or the node is cancelled."""
    return await retry_while_unavailable(operation, "subworkflow_preparation", lambda: False)
