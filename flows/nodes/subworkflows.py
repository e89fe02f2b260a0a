"""Subworkflow calls: turns the call of a node into a child execution, or rejects it."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from database import Database
from database.executions.inline_workflows import is_inline_workflow_id
from database.executions.inputs import Child, Submission
from database.records import Workflow
from engine.errors import InvalidRequestError, PermanentError, WorkflowNotFoundError
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
from offload import run_counted
from tasks.registry import NodeTypes

_OPERATION = "subworkflow_preparation"
_NAMESPACE = uuid.UUID("7c2f3f0e-5b0a-4c1e-9d0f-2b1a6f5f7d11")  # arbitrary, but constant


@dataclass(frozen=True, slots=True)
class SubworkflowCaller:
    """Prepares child executions; the journal stores them when the calling node is parked."""

    database: Database
    node_types: NodeTypes
    max_depth: int
    max_executions_per_root: int
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS

    async def prepare(
        self, execution_id: str, node_id: str, attempt: int, result: NodeResult
    ) -> NodeResult:
        """Return ``result``, with a child execution if it calls a workflow.

        Raises:
            NodeError: If the workflow cannot be called. Further attempts would fail too.
        """
        park = result.result.get(PARK)
        call = call_of(park)
        if call is None:
            return result
        child_id = str(uuid.uuid5(_NAMESPACE, f"{execution_id}:{node_id}:{attempt}"))
        child = await self._child(execution_id, child_id, call)
        # Without the inputs, because the child stores them.
        reference = {"workflowId": call["workflowId"], "executionId": child_id}
        parked = {**cast("Mapping[str, JsonValue]", park), CALL: reference}
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
        caller = await retry_while_unavailable(lambda: children.caller(execution_id), _OPERATION)
        try:
            workflow = await retry_while_unavailable(
                lambda: queries.workflow(workflow_id), _OPERATION
            )
        except WorkflowNotFoundError as error:
            raise PermanentError(str(error)) from None
        visible = (caller.organization_id, caller.workflow_organization_id)
        if workflow.organization_id not in visible or is_inline_workflow_id(workflow_id):
            # The error must not reveal that another organization has this workflow.
            raise PermanentError(str(WorkflowNotFoundError(workflow_id)))
        if caller.depth >= self.max_depth:
            raise PermanentError(await self._too_deep(execution_id, workflow))
        if caller.called_of_root >= self.max_executions_per_root:
            raise PermanentError(
                f"an execution may lead to {self.max_executions_per_root} others by calls "
                f"(MAX_SUBWORKFLOW_EXECUTIONS), and execution {caller.root_id} has"
            )
        try:
            normalized = await run_counted(
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
            raise PermanentError(f"workflow {name} cannot be called: {error}") from None
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
        children = self.database.child_executions
        chain = await retry_while_unavailable(lambda: children.chain(execution_id), _OPERATION)
        calls = [*chain, (workflow.name, workflow.id)]
        names = [f"'{name}' ({workflow_id})" for name, workflow_id in calls]
        return (
            f"workflows may call one another {self.max_depth} deep (MAX_SUBWORKFLOW_DEPTH), "
            f"and this call would go deeper: {' → '.join(names)}"
        )


def _inputs(graph: Graph, call: Mapping[str, JsonValue]) -> Mapping[str, JsonValue] | None:
    """Return the inputs of the child: those of the call, or its payload for each trigger."""
    inputs: Mapping[str, JsonValue] | None = call.get("inputs")
    payload: JsonValue = call.get("payload")
    if inputs is not None or payload is None:
        return inputs
    return {node.id: payload for node in graph.roots if node.type == TRIGGER} or None
