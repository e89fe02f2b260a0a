"""Submissions: checks requests for executions and stores the valid ones.

Every error that can be found in advance is found here, before a row is written.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, cast

from database import Database
from database.executions.inline_workflows import INLINE_WORKFLOW_NAME, inline_workflow_id
from database.executions.inputs import IdempotencyKey, Submission
from database.records import Workflow
from engine.errors import InvalidDocumentError, Problem
from engine.graph import WEBHOOK, Graph
from engine.inputs import start_at_entry, start_manually
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.normalization import Normalized
from engine.plan import Plan
from engine.validation import read_and_validate, read_graph
from flows.encoding import encode_off_loop
from flows.intake.callers import calling_execution
from flows.intake.validated_documents import ValidatedDocuments
from flows.worker.worker import Worker
from offload import check_stop, run_counted, run_sized
from tasks.registry import NodeTypes
from tracing import request_context

MAX_INLINE_DOCUMENT_CHARS = 65_536
"""Maximum length of a JSON string that is validated on the event loop."""

MAX_INLINE_NODES = 500
"""Maximum number of nodes of a document that is validated on the event loop: a hundred nodes take
about ten milliseconds."""


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """The part of a request for an execution that does not depend on the workflow."""

    organization_id: str | None = None
    inputs: Mapping[str, JsonValue] | None = None
    idempotency_key: str | None = None
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class SubmissionReceipt:
    """An execution that is stored and will run."""

    execution_id: str
    workflow_id: str
    workflow_name: str


@dataclass(frozen=True, slots=True)
class SubmissionService:
    """Stores executions and wakes the worker."""

    database: Database
    node_types: NodeTypes
    worker: Worker
    max_pending_executions: int
    max_pending_executions_per_organization: int
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS
    validated: ValidatedDocuments = field(default_factory=ValidatedDocuments)

    async def submit(self, workflow_id: str, request: SubmissionRequest) -> SubmissionReceipt:
        """Store an execution of a saved workflow's current version.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
            InvalidRequestError: If its document cannot run, the inputs do not fit it, or the
                idempotency key belongs to another request; nothing is stored.
            QueueFullError: If the maximum number of executions is pending.
            StorageError: If the database is unavailable; nothing is stored.
        """
        workflow = await self.database.queries.workflow(workflow_id)
        organization_id = request.organization_id or workflow.organization_id
        request = replace(request, organization_id=organization_id)
        inputs = None if request.inputs is None else dict(request.inputs)
        body: list[JsonValue] = [workflow_id, inputs]
        if request.callback_url is not None:
            body.append({"callbackUrl": request.callback_url})
        return await self._submit(workflow, request, body)

    async def submit_inline(
        self, document: Mapping[str, JsonValue], name: str | None, request: SubmissionRequest
    ) -> SubmissionReceipt:
        """Store an execution of a document that the request contains as ``graph``.

        Raises:
            InvalidRequestError: As for ``submit``; pointers into the document begin with
                ``/graph``.
            QueueFullError: If the maximum number of executions is pending.
            StorageError: If the database is unavailable; nothing is stored.
        """
        text = await encode_off_loop(dict(document))
        workflow_id = inline_workflow_id(request.organization_id)
        workflow = Workflow(
            workflow_id, name or INLINE_WORKFLOW_NAME, text, request.organization_id
        )
        inputs = None if request.inputs is None else dict(request.inputs)
        body = {"graph": dict(document), "workflowName": name, "inputs": inputs}
        if request.callback_url is not None:
            body["callbackUrl"] = request.callback_url
        try:
            return await self._submit(workflow, request, body, unsaved=True)
        except InvalidDocumentError as error:
            raise error.within("/graph") from None

    async def _submit(
        self,
        workflow: Workflow,
        request: SubmissionRequest,
        body: JsonValue,
        *,
        unsaved: bool = False,
    ) -> SubmissionReceipt:
        """Store a manual execution, unless ``body`` was sent with the same key before."""
        key = await _key(request, body)
        if key and (known := await self.database.submissions.find_by_key(key)):
            return SubmissionReceipt(known, workflow.id, workflow.name)
        graph = await self.check_in_thread(workflow.data)
        inputs = request.inputs
        plan = Plan(graph, start_manually(graph, inputs))
        text = None if inputs is None else await encode_off_loop(dict(inputs))
        more = {"unsaved": unsaved, "idempotency": key, "callback_url": request.callback_url}
        workflow = replace(workflow, organization_id=request.organization_id)
        return await self._store(workflow, plan, text, **more)

    async def submit_delivery(
        self,
        workflow: Workflow,
        graph: Graph,
        node_id: str,
        payload: JsonValue,
        request: Mapping[str, JsonValue],
        key: IdempotencyKey | None,
    ) -> SubmissionReceipt:
        """Store an execution that starts at this webhook node only.

        ``request`` is the value of ``request`` in the execution's templates.

        Raises:
            QueueFullError: If the maximum number of executions is pending.
            StorageError: If the database is unavailable; nothing is stored.
        """
        plan = Plan(graph, start_at_entry(node_id, payload))
        return await self._store(
            workflow,
            plan,
            await encode_off_loop({node_id: payload}),
            trigger_type=WEBHOOK,
            request=await encode_off_loop(dict(request)),
            idempotency=key,
        )

    async def _store(
        self, workflow: Workflow, plan: Plan, inputs: str | None, **more: Any
    ) -> SubmissionReceipt:
        """Store an execution with the fields ``more`` of its submission, and wake the worker."""
        return await self.store(new_submission(workflow, plan, inputs, **more))

    async def store(self, submission: Submission) -> SubmissionReceipt:
        """Store a prepared execution, and wake the worker.

        Raises:
            QueueFullError: If the maximum number of executions is pending.
            StorageError: If the database is unavailable; nothing is stored.
        """
        execution_id = await self.database.submissions.submit(
            submission,
            self.max_pending_executions,
            self.max_pending_executions_per_organization,
        )
        self.worker.wake()
        return SubmissionReceipt(execution_id, submission.workflow_id, submission.workflow_name)

    def check_size(self, document: JsonValue, pointer: str) -> None:
        """Check the number of nodes and connections of the document at ``pointer``.

        Raises:
            InvalidDocumentError: If it has more than the settings allow.
        """
        try:
            self.limits.check(document)
        except InvalidDocumentError as error:
            raise error.within(pointer) from None

    async def check_in_thread(self, document: JsonValue) -> Graph:
        """Return the graph of a document; validate a large document in a thread.

        Raises:
            InvalidDocumentError: If the document cannot run; the error contains every reason.
        """
        return (await self._normalized_in_thread(document)).graph

    async def warnings(self, document: JsonValue) -> list[Problem]:
        """Return the warnings about a document that can run.

        Raises:
            InvalidDocumentError: If the document cannot run; the error contains the reasons and
                the warnings.
        """
        return (await self._normalized_in_thread(document)).warnings

    def stored_graph(self, document: JsonValue) -> Graph:
        """Return the graph of a document that was validated when it was submitted."""
        return read_graph(document, self.node_types.rules)

    async def _normalized_in_thread(self, document: JsonValue) -> Normalized:
        arguments = (document, self.node_types.rules, self.limits)
        if not _is_large(document):
            if isinstance(document, str):
                return await run_counted(0, self.validated.read, document, *arguments[1:])
            return await run_counted(0, read_and_validate, *arguments)
        return await asyncio.to_thread(read_and_validate, *arguments)


def new_submission(workflow: Workflow, plan: Plan, inputs: str | None, **more: Any) -> Submission:
    """Return a new execution of a workflow, with the fields ``more``."""
    context = request_context()
    return Submission(
        execution_id=str(uuid.uuid4()),
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        organization_id=workflow.organization_id,
        document=workflow.data,
        inputs=inputs,
        total_nodes=len(plan.counted),
        trace_context=None if context is None else context.encode(),
        called_by=calling_execution(),
        **more,
    )


def _is_large(document: JsonValue) -> bool:
    if isinstance(document, Mapping):
        nodes: object = cast("Mapping[str, JsonValue]", document).get("nodes")
        return isinstance(nodes, list) and len(cast("list[object]", nodes)) > MAX_INLINE_NODES
    return isinstance(document, str) and len(document) > MAX_INLINE_DOCUMENT_CHARS


async def _key(request: SubmissionRequest, body: JsonValue) -> IdempotencyKey | None:
    """Return the key of a request with the hash of its body; the order of keys does not matter."""
    if request.idempotency_key is None:
        return None
    text = await encode_off_loop(body)
    digest = await run_sized(len(text), _digest_of_json, text)
    return IdempotencyKey(request.organization_id or "", request.idempotency_key, digest)


def _digest_of_json(text: str) -> str:
    canonical = json.dumps(load_json_in_pieces(text, check_stop), sort_keys=True)
    return sha256(canonical.encode()).hexdigest()
