"""Calls: a parked node whose wait is another workflow's execution, its child.

A handler calls by returning ``park`` with ``call``. This module says what a call may look like and
what comes of the node when its child has ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.json_values import JsonValue, is_object, kind_of, load_json
from engine.outcome import Outcome
from engine.reasons import sanitize_for_storage
from engine.status import ExecutionStatus, NodeStatus

CALL = "call"
"""Key of ``park``. Its value is an object:

- ``workflowId``: the workflow that is called;
- ``inputs``: what its nodes take, as the ``inputs`` of a request; or, where there are none,
- ``payload``: what its triggers pass on;
- ``executionId``: the child, once there is one; the two before are left out then.
"""
SUBWORKFLOW = "subworkflow"
"""The ``triggerType`` of an execution that a node called."""


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended, as its parent is told."""

    execution_id: str
    workflow_name: str | None
    """``None`` where nothing of it is left."""
    status: str
    error: str | None = None
    final_output: str | None = None
    """JSON text; set where the child completed."""

    def as_json(self) -> dict[str, JsonValue]:
        """As the journal keeps it."""
        return {
            "executionId": self.execution_id,
            "workflowName": self.workflow_name,
            "status": self.status,
            "error": self.error,
            "finalOutput": self.final_output,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> "ChildResult":
        """What ``as_json`` gave."""
        return cls(
            value["executionId"],
            value["workflowName"],
            value["status"],
            value["error"],
            value["finalOutput"],
        )

    @property
    def failure(self) -> str | None:
        """Why the node that called fails; ``None`` where the child completed."""
        if self.status == ExecutionStatus.COMPLETED:
            return None
        name = "" if self.workflow_name is None else f" '{self.workflow_name}'"
        child = f"subworkflow{name} (execution {self.execution_id})"
        if self.status == ExecutionStatus.CANCELLED:
            return f"{child} was cancelled"
        reason = self.error or "it gave no reason"
        if self.status == ExecutionStatus.FAILED:
            return sanitize_for_storage(f"{child} failed: {reason}")
        return sanitize_for_storage(f"{child} ended with the status '{self.status}': {reason}")

    def outcome(self, result: Mapping[str, JsonValue]) -> Outcome:
        """How the node that called ends; ``result`` is what its handler returned."""
        if (failure := self.failure) is not None:
            return Outcome(NodeStatus.ERROR, error=failure)
        output = self._output()
        said: dict[str, JsonValue] = {
            "message": f"Subworkflow '{self.workflow_name}' completed",
            "childExecutionId": self.execution_id,
            "outputData": output,
        }
        return Outcome(NodeStatus.COMPLETED, {**result, **said})

    def _output(self) -> JsonValue:
        try:
            return None if self.final_output is None else load_json(self.final_output)
        except ValueError:
            return self.final_output  # another program changed it


def call_of(park: JsonValue) -> Mapping[str, JsonValue] | None:
    """The call in the ``park`` of a handler's result, if it makes one."""
    call = park.get(CALL) if is_object(park) else None
    return call if is_object(call) else None


def call_error(call: JsonValue) -> str | None:
    """Why a ``call`` cannot be made as it stands; ``None`` where it can or there is none."""
    if call is None:
        return None
    if not is_object(call):
        return f"should be an object, not of type {kind_of(call)}"
    workflow_id, inputs = call.get("workflowId"), call.get("inputs")
    if not isinstance(workflow_id, str) or not workflow_id or "\0" in workflow_id:
        return "should have a 'workflowId' that is a text"
    if inputs is not None and not isinstance(inputs, Mapping):
        return f"should have 'inputs' that are an object, not of type {kind_of(inputs)}"
    return None
