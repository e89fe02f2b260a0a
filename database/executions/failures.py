"""Failures: records each failed execution, and starts its failure workflow.

The transaction that writes ``failed`` also stores the failure and the execution of the failure
workflow, so that a crash loses neither and repeats neither.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Text, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from database.connection.engines import insert_or_ignore, is_foreign_key_violation
from database.executions.inline_workflows import is_inline_workflow_id
from database.executions.inputs import Submission
from database.executions.submissions import insert_execution
from database.foreign_values import integer_of, required_text_of, text_of
from database.records import MANUAL
from database.tables import children, definitions, executions, failures, logs, runs, workflows
from engine.errors import InvalidRequestError, describe
from engine.failures import FAILURE, failure_workflow_in, fingerprint_of, normalized_message
from engine.json_values import JsonValue
from engine.status import ExecutionStatus

FAILURE_WORKFLOWS = "orchestrator_failure_workflows"
"""Execution option of the writing engine: its ``FailureWorkflows``."""
MAX_CACHED_NAMES = 1_024
"""Maximum number of definitions whose failure workflow is cached."""
_NAMESPACE = uuid.UUID("2f6f0e0c-53a4-4d7e-9a3b-0b1d9e7c5f21")  # arbitrary, but constant

_FAILED = (
    select(
        executions.c.id,
        executions.c.workflowId,
        executions.c.organizationId,
        executions.c.error,
        executions.c.triggerType,
        executions.c.createdAt,
        executions.c.startedAt,
        executions.c.completedAt,
        runs.c.organization,
        runs.c.workflowName,
        runs.c.definitionHash,
        runs.c.rerunOf,
        runs.c.failureOf,
        children.c.parentId,
        workflows.c.organizationId.label("ofWorkflow"),
        logs.c.nodeId,
        logs.c.nodeType,
        logs.c.nodeLabel,
        logs.c.attempt,
        logs.c.error.label("nodeError"),
    )
    .join(runs, runs.c.executionId == executions.c.id)
    .outerjoin(children, children.c.executionId == executions.c.id)
    .outerjoin(workflows, workflows.c.id == executions.c.workflowId)
    .outerjoin(logs, logs.c.id == executions.c.id + ":" + bindparam("node", type_=Text))
    .where(executions.c.id == bindparam("execution"))
)
_DOCUMENT = select(definitions.c.document).where(definitions.c.hash == bindparam("digest"))
_WORKFLOW = select(
    workflows.c.name, workflows.c.data, workflows.c.organizationId.label("organization")
).where(workflows.c.id == bindparam("workflow"))


@dataclass(frozen=True, slots=True)
class PreparedStart:
    """The start of a failure workflow. ``inputs`` is JSON."""

    inputs: str
    total_nodes: int


@dataclass(frozen=True, slots=True)
class FailureWorkflows:
    """The failure workflows that the settings name, and the preparation of executions."""

    prepare: Callable[[str, Mapping[str, JsonValue]], PreparedStart]
    """Returns the start of a document with a payload; raises an exception if it cannot run."""
    of_service: str | None = None
    of_organizations: Mapping[str, str] = field(default_factory=dict[str, str])
    on_rejected: Callable[[str, str, str], object] | None = None
    """Called with the id of a failed execution, the id of its failure workflow, and the reason why
    this workflow was not started."""
    _names: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    """The failure workflows that definitions name, by the hash of the definition."""

    def named_for(self, connection: Connection, failed: Any) -> str | None:
        """Return the failure workflow of an execution: of its definition, organization or service.

        An execution of a failure workflow has none, nor has one that it called, nor a rerun of
        these.
        """
        if failed.failureOf is not None:
            return None
        digest = failed.definitionHash
        if digest not in self._names:
            if len(self._names) >= MAX_CACHED_NAMES:
                self._names.clear()
            document = connection.scalar(_DOCUMENT, {"digest": digest})
            self._names[digest] = failure_workflow_in(document or "")
        found = self._names[digest] or self.of_settings(failed.organization)
        return None if found == failed.workflowId else found

    def of_settings(self, organization: str) -> str | None:
        """Return the failure workflow of an organization, or of the service."""
        return self.of_organizations.get(organization) or self.of_service


class _NotStartedError(Exception):
    """The failure workflow cannot be started; the message is the reason."""


def record_failed(connection: Connection, execution_ids: Collection[str], now: str) -> None:
    """Record those of these executions that have failed; their failed nodes are not known."""
    failed = select(executions.c.id).where(
        executions.c.id.in_(execution_ids), executions.c.status == ExecutionStatus.FAILED
    )
    for execution_id in connection.scalars(failed).all():
        record_failure(connection, execution_id, None, now)


def record_failure(
    connection: Connection, execution_id: str, node_id: str | None, now: str
) -> None:
    """Record an execution that has just failed, and start its failure workflow if it has one.

    ``node_id`` is the node because of which it failed. Call this at the end of a transaction,
    because it locks the order of events.
    """
    failed = connection.execute(_FAILED, {"execution": execution_id, "node": node_id}).first()
    if failed is None:
        return
    names: FailureWorkflows | None = connection.get_execution_options().get(FAILURE_WORKFLOWS)
    workflow_id = None if names is None else names.named_for(connection, failed)
    message = normalized_message(text_of(failed.nodeError) or text_of(failed.error) or "")
    node, node_type = text_of(failed.nodeId), text_of(failed.nodeType)
    row = {
        "executionId": execution_id,
        "organization": failed.organization,
        "workflowId": failed.workflowId,
        "nodeId": node,
        "nodeType": node_type,
        "fingerprint": fingerprint_of(failed.workflowId, node, node_type, message),
        "message": message,
        "failedAt": now,
        "failureWorkflowId": workflow_id,
    }
    inserted = connection.execute(insert_or_ignore(connection.dialect.name, failures), row)
    if names is None or workflow_id is None or inserted.rowcount != 1:
        return
    result: dict[str, str]
    try:
        result = {"failureExecutionId": _start(connection, failed, workflow_id, names, now)}
    except _NotStartedError as error:
        result = {"failureError": str(error)}
        if names.on_rejected is not None:
            names.on_rejected(execution_id, workflow_id, str(error))
    own_row = failures.c.executionId == execution_id
    connection.execute(update(failures).where(own_row).values(**result))


def _start(
    connection: Connection, failed: Any, workflow_id: str, names: FailureWorkflows, now: str
) -> str:
    """Store the execution of the failure workflow and return its id.

    The limits of the queue do not apply, because a full queue must not lose it.
    """
    workflow = None
    if not is_inline_workflow_id(workflow_id):
        workflow = connection.execute(_WORKFLOW, {"workflow": workflow_id}).first()
    of_execution = text_of(failed.organizationId)
    visible = {of_execution, text_of(failed.ofWorkflow)}
    if workflow_id == names.of_settings(failed.organization):
        visible.add(None)  # The operator chose it, so that it may belong to no organization.
    # The reason must not reveal that another organization has this workflow.
    if workflow is None or text_of(workflow.organization) not in visible:
        raise _NotStartedError(f"Workflow '{workflow_id}' not found")
    document, name = required_text_of(workflow.data), required_text_of(workflow.name)
    try:
        start = names.prepare(document, _payload(failed))
    except InvalidRequestError as error:
        raise _NotStartedError(f"Workflow '{workflow_id}': {error}") from None
    except Exception as error:
        # A defect must not prevent the end of the failed execution.
        raise _NotStartedError(f"Workflow '{workflow_id}': {describe(error)}") from error
    submission = Submission(
        execution_id=str(uuid.uuid5(_NAMESPACE, failed.id)),
        workflow_id=workflow_id,
        workflow_name=name,
        organization_id=of_execution,
        document=document,
        inputs=start.inputs,
        total_nodes=start.total_nodes,
        trigger_type=FAILURE,
        failure_of=failed.id,
    )
    try:
        with connection.begin_nested():
            insert_execution(connection, submission, now)
    except IntegrityError as error:
        if not is_foreign_key_violation(error):
            raise
        reason = f"Workflow '{workflow_id}' or its organization was deleted"
        raise _NotStartedError(reason) from None
    return submission.execution_id


def _payload(failed: Any) -> dict[str, JsonValue]:
    """Return the failed execution for the trigger of its failure workflow.

    It contains no inputs and no outputs, because these may contain secrets.
    """
    node: JsonValue = None
    if failed.nodeId is not None:
        node = {
            "id": text_of(failed.nodeId),
            "type": text_of(failed.nodeType),
            "label": text_of(failed.nodeLabel),
            "attempt": integer_of(failed.attempt) or 1,
            "error": text_of(failed.nodeError),
        }
    return {
        "executionId": failed.id,
        "workflowId": failed.workflowId,
        "workflowName": failed.workflowName,
        "organizationId": text_of(failed.organizationId),
        "status": ExecutionStatus.FAILED,
        "error": text_of(failed.error),
        "node": node,
        "triggerType": text_of(failed.triggerType) or MANUAL,
        "createdAt": text_of(failed.createdAt),
        "startedAt": text_of(failed.startedAt),
        "completedAt": text_of(failed.completedAt),
        "rerunOf": failed.rerunOf,
        "parentExecutionId": failed.parentId,
        "executionUrl": f"/api/executions/{failed.id}",
        "logsUrl": f"/api/executions/{failed.id}/logs",
    }
