"""Accepting an execution: what can be refused is refused here, before a row is written."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from database import Database
from database.executions.inline_workflows import INLINE_WORKFLOW_NAME, unsaved_id
from database.records import MANUAL, FinishedExecution, IdempotencyKey, Submission, Workflow
from engine.errors import InvalidDocumentError, InvalidInputsError, Problem, StillRunningError
from engine.graph import WEBHOOK, Graph
from engine.inputs import start_as, start_by_webhook, start_manually
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.loop_plan import Plan
from engine.normalization import Normalized
from engine.parking import Resumption
from engine.rerun import changed_by_inputs, taken_over
from engine.status import has_ended
from engine.subworkflow_calls import SUBWORKFLOW
from engine.validation import read_and_validate, read_graph
from flows.intake.encoding import encode_off_loop
from flows.worker.worker import Worker
from offload import check_stop, run_sized
from tasks.registry import NodeTypes

LARGE_CHARACTERS, LARGE_NODES = 65_536, 500
"""Documents of more are checked aside: a hundred nodes take about ten milliseconds."""


@dataclass(frozen=True, slots=True)
class SubmissionReceipt:
    """An execution that is stored and will run."""

    execution_id: str
    workflow_id: str
    workflow_name: str


@dataclass(frozen=True, slots=True)
class SubmissionService:
    """Takes executions in."""

    database: Database
    node_types: NodeTypes
    runner: Worker
    max_pending_executions: int
    max_pending_executions_per_organization: int
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS

    async def submit(
        self,
        workflow_id: str,
        inputs: Mapping[str, JsonValue] | None,
        organization_id: str | None,
        idempotency_key: str | None = None,
        callback_url: str | None = None,
    ) -> SubmissionReceipt:
        """Stores an execution of the workflow as it is saved now, and wakes the runner.

        Raises:
            WorkflowNotFoundError: there is no such workflow.
            InvalidRequestError: If its document cannot run, the inputs do not fit it, or its key
                stands for another request; nothing is stored.
            QueueFullError: as many executions wait as may.
            StorageError: the database did not take it; nothing is stored.
        """
        workflow = await self.database.reads.workflow(workflow_id)
        organization = organization_id or workflow.organization_id
        body: list[JsonValue] = [workflow_id, None if inputs is None else dict(inputs)]
        if callback_url is not None:
            body.append({"callbackUrl": callback_url})
        key = await _key(organization, idempotency_key, body)
        if key and (known := await self.database.submissions.known(key)):
            return SubmissionReceipt(known, workflow.id, workflow.name)
        graph = await self.check_aside(workflow.data)
        return await self._begin(workflow, graph, organization, inputs, key, callback_url)

    async def submit_unsaved(
        self,
        document: Mapping[str, JsonValue],
        name: str | None,
        inputs: Mapping[str, JsonValue] | None,
        organization_id: str | None,
        idempotency_key: str | None = None,
        callback_url: str | None = None,
    ) -> SubmissionReceipt:
        """Stores an execution of a document that came with the request, at its ``graph``.

        Raises:
            InvalidRequestError: as ``submit``; pointers into the document begin with ``/graph``.
            QueueFullError: as many executions wait as may.
            StorageError: the database did not take it; nothing is stored.
        """
        text = await encode_off_loop(dict(document))
        workflow = Workflow(
            unsaved_id(organization_id), name or INLINE_WORKFLOW_NAME, text, organization_id
        )
        body = {"graph": dict(document), "workflowName": name, "inputs": inputs and dict(inputs)}
        if callback_url is not None:
            body["callbackUrl"] = callback_url
        key = await _key(organization_id, idempotency_key, body)
        if key and (known := await self.database.submissions.known(key)):
            return SubmissionReceipt(known, workflow.id, workflow.name)
        try:
            graph = await self.check_aside(text)
        except InvalidDocumentError as refusal:
            raise refusal.within("/graph") from None
        return await self._begin(workflow, graph, organization_id, inputs, key, callback_url)

    async def _begin(
        self,
        workflow: Workflow,
        graph: Graph,
        organization_id: str | None,
        inputs: Mapping[str, JsonValue] | None,
        key: IdempotencyKey | None,
        callback_url: str | None,
    ) -> SubmissionReceipt:
        plan = Plan(graph, start_manually(graph, inputs))
        submission = Submission(
            execution_id=str(uuid.uuid4()),
            workflow_id=workflow.id,
            workflow_name=workflow.name,
            organization_id=organization_id,
            document=workflow.data,
            inputs=None if inputs is None else await encode_off_loop(dict(inputs)),
            total_nodes=len(plan.counted),
            unsaved=workflow.id == unsaved_id(organization_id),
            idempotency=key,
            callback_url=callback_url,
        )
        return await self._store(submission)

    async def rerun(
        self,
        execution_id: str,
        from_node_id: str | None,
        inputs: Mapping[str, JsonValue] | None,
        callback_url: str | None = None,
    ) -> SubmissionReceipt:
        """Stores a new execution of what an old one ran, and wakes the runner.

        Raises:
            ExecutionNotFoundError: there is none of that id that this service ran.
            StillRunningError: it has not ended.
            InvalidRequestError: If node or inputs do not fit its definition, or it cannot run any
                more; nothing is stored.
            QueueFullError: as many executions wait as may.
        """
        past = await self.database.reads.past_run(execution_id)
        if not has_ended(past.status):
            raise StillRunningError(execution_id, past.status)
        graph = await self.check_aside(past.document)
        if from_node_id is not None and from_node_id not in graph.nodes:
            detail = f"the execution has no node '{from_node_id}'"
            raise InvalidInputsError([Problem("unknown_node", detail, "/fromNodeId")])
        before = await run_sized(len(past.inputs or ""), _past_inputs, past)
        after = before if inputs is None else inputs
        # Run again, what a node called is nobody's child.
        same = inputs is None and past.trigger_type != SUBWORKFLOW
        trigger = past.trigger_type if same else MANUAL
        start = start_as(trigger, graph, after)
        changed = changed_by_inputs(start_as(past.trigger_type, graph, before), start)
        kept = taken_over(graph, past.outcomes, from_node_id, changed)
        plan = Plan(graph, start)
        submission = Submission(
            execution_id=str(uuid.uuid4()),
            workflow_id=past.workflow_id,
            workflow_name=past.workflow_name,
            organization_id=past.organization_id,
            document=past.document,
            inputs=past.inputs if inputs is None else await encode_off_loop(dict(inputs)),
            total_nodes=len(plan.counted),
            callback_url=callback_url,
            trigger_type=trigger,
            rerun_of=execution_id,
            taken_over=tuple(kept),
            progress=plan.progress(kept),
        )
        return await self._store(submission)

    async def submit_delivery(
        self,
        workflow: Workflow,
        graph: Graph,
        node_id: str,
        payload: JsonValue,
        request: Mapping[str, JsonValue],
        key: IdempotencyKey | None,
    ) -> SubmissionReceipt:
        """Store an execution that fires this webhook node alone, and wake the runner.

        ``request`` is what templates of the execution see under that name.

        Raises:
            QueueFullError: as many executions wait as may.
            StorageError: the database did not take it; nothing is stored.
        """
        plan = Plan(graph, start_by_webhook(graph, node_id, payload))
        submission = Submission(
            execution_id=str(uuid.uuid4()),
            workflow_id=workflow.id,
            workflow_name=workflow.name,
            organization_id=workflow.organization_id,
            document=workflow.data,
            inputs=await encode_off_loop({node_id: payload}),
            total_nodes=len(plan.counted),
            trigger_type=WEBHOOK,
            request=await encode_off_loop(dict(request)),
            idempotency=key,
        )
        return await self._store(submission)

    async def resume(self, execution_id: str, node_id: str, resumption: Resumption) -> None:
        """Lets a node that waits go on.

        Raises:
            ExecutionNotFoundError: there is no such execution.
            NotWaitingError: the node does not wait, or was told to go on before.
        """
        await self.database.journal.resume(execution_id, node_id, resumption)
        self.runner.poke(execution_id)

    async def _store(self, submission: Submission) -> SubmissionReceipt:
        execution_id = await self.database.submissions.submit(
            submission,
            self.max_pending_executions,
            self.max_pending_executions_per_organization,
        )
        self.runner.wake()
        return SubmissionReceipt(execution_id, submission.workflow_id, submission.workflow_name)

    def check(self, document: JsonValue) -> Graph:
        """The graph of a document that can run.

        Raises:
            InvalidDocumentError: it cannot; every reason is in it.
        """
        return self._normalized(document).graph

    def check_size(self, document: JsonValue, pointer: str) -> None:
        """Check the number of nodes and connections of a document that was sent at ``pointer``.

        Raises:
            InvalidDocumentError: If there are more than the settings allow.
        """
        try:
            self.limits.check(document)
        except InvalidDocumentError as error:
            raise error.within(pointer) from None

    async def check_aside(self, document: JsonValue) -> Graph:
        """As ``check``; a large document in a thread, so that nobody else has to wait for it."""
        return (await self._normalized_aside(document)).graph

    async def warnings(self, document: JsonValue) -> list[Problem]:
        """Return the warnings about a document that can run.

        Raises:
            InvalidDocumentError: If it cannot run; the error has the reasons and the warnings.
        """
        return (await self._normalized_aside(document)).warnings

    def stored_graph(self, document: JsonValue) -> Graph:
        """Return the graph of a document that was validated when it was submitted."""
        return read_graph(document, self.node_types.rules)

    async def _normalized_aside(self, document: JsonValue) -> Normalized:
        if not _is_large(document):
            return self._normalized(document)
        return await asyncio.to_thread(self._normalized, document)

    def _normalized(self, document: JsonValue) -> Normalized:
        return read_and_validate(document, self.node_types.rules, self.limits)


def _is_large(document: JsonValue) -> bool:
    if isinstance(document, Mapping):
        nodes: object = cast("Mapping[str, JsonValue]", document).get("nodes")
        return isinstance(nodes, list) and len(cast("list[object]", nodes)) > LARGE_NODES
    return isinstance(document, str) and len(document) > LARGE_CHARACTERS


async def _key(
    organization_id: str | None, key: str | None, body: JsonValue
) -> IdempotencyKey | None:
    """Return the key of a request; the order of fields makes no difference to the body."""
    if key is None:
        return None
    text = await encode_off_loop(body)
    digest = await run_sized(len(text), _digest_of_json, text)
    return IdempotencyKey(organization_id or "", key, digest)


def _past_inputs(past: FinishedExecution) -> Mapping[str, JsonValue]:
    """Return the inputs of a past execution.

    Raises:
        InvalidInputsError: If another program replaced them by something else than an object.
    """
    try:
        inputs: JsonValue = load_json_in_pieces(past.inputs or "{}", check_stop)
    except ValueError:
        inputs = past.inputs
    if not isinstance(inputs, Mapping):
        detail = f"the stored inputs of execution '{past.execution_id}' are not a JSON object"
        raise InvalidInputsError([Problem("invalid_inputs", detail, "/inputs")])
    return cast("Mapping[str, JsonValue]", inputs)


def _digest_of_json(text: str) -> str:
    canonical = json.dumps(load_json_in_pieces(text, check_stop), sort_keys=True)
    return sha256(canonical.encode()).hexdigest()
