"""Subworkflow calls: parked nodes that wait for the execution of another workflow, their child.

A handler calls a workflow by returning ``park`` with ``call``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic.alias_generators import to_camel, to_snake

from engine.errors import sanitize_for_storage
from engine.json_values import JsonValue, is_object, kind_of, load_json
from engine.outcome import Outcome
from engine.status import ExecutionStatus, NodeStatus

CALL = "call"
"""Key of ``park``. Its value is an object:

- ``workflowId``: the workflow that is called;
- ``inputs``: the inputs of its nodes, as in a request; or, without them,
- ``payload``: the output of its triggers;
- ``executionId``: the child, once it exists; ``inputs`` and ``payload`` are removed then.
"""
SUBWORKFLOW = "subworkflow"
"""The ``triggerType`` of an execution that a node called."""


@dataclass(frozen=True, slots=True)
class ChildResult:
    """The result of a child, as its parent receives it."""

    execution_id: str
    workflow_name: str | None
    """``None`` if the child was deleted."""
    status: str
    error: str | None = None
    final_output: str | None = None
    """JSON text; set if the child completed."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that the journal stores."""
        return {to_camel(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> "ChildResult":
        """Return the result of a value that ``as_json`` returned."""
        return cls(**{to_snake(name): inner for name, inner in value.items()})

    @property
    def failure(self) -> str | None:
        """The reason why the calling node fails; ``None`` if the child completed."""
        if self.status == ExecutionStatus.COMPLETED:
            return None
        name = "" if self.workflow_name is None else f" '{self.workflow_name}'"
        child = f"subworkflow{name} (execution {self.execution_id})"
        if self.status == ExecutionStatus.CANCELLED:
            return f"{child} was cancelled"
        reason = self.error or "no reason is known"
        if self.status == ExecutionStatus.FAILED:
            return sanitize_for_storage(f"{child} failed: {reason}")
        return sanitize_for_storage(f"{child} ended with the status '{self.status}': {reason}")

    def outcome(self, result: Mapping[str, JsonValue]) -> Outcome:
        """Return the outcome of the calling node; ``result`` is the one of its handler."""
        if (failure := self.failure) is not None:
            return Outcome(NodeStatus.ERROR, error=failure)
        output = self._output()
        fields: dict[str, JsonValue] = {
            "message": f"Subworkflow '{self.workflow_name}' completed",
            "childExecutionId": self.execution_id,
            "outputData": output,
        }
        return Outcome(NodeStatus.COMPLETED, {**result, **fields})

    def _output(self) -> JsonValue:
        try:
            return None if self.final_output is None else load_json(self.final_output)
        except ValueError:
            return self.final_output  # Another program changed it.


def call_of(park: JsonValue) -> Mapping[str, JsonValue] | None:
    """Return the call in the ``park`` of a handler's result."""
    call = park.get(CALL) if is_object(park) else None
    return call if is_object(call) else None


def call_error(call: JsonValue) -> str | None:
    """Return why ``call`` is invalid; ``None`` if it is valid or missing."""
    if call is None:
        return None
    if not is_object(call):
        return f"should be an object, not of type {kind_of(call)}"
    workflow_id, inputs = call.get("workflowId"), call.get("inputs")
    if not isinstance(workflow_id, str) or not workflow_id or "\0" in workflow_id:
        return "should have a 'workflowId' that is a string"
    if inputs is not None and not isinstance(inputs, Mapping):
        return f"should have 'inputs' that are an object, not of type {kind_of(inputs)}"
    return None
