"""Execution schemas: submission, state, logs, cancel, rerun and resume."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from api.schemas.base import ApiModel, Name, RequestModel, WorkflowOrGraph
from api.schemas.known_values import AnyExecutionStatus, AnyNodeStatus
from engine.status import WaitingFor
from flows.callbacks.request import check_callback_url

_HTTP_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\u0000-\u0020\u007f-\u009f]+$"
CallbackUrl = Annotated[
    StrictStr,
    Field(max_length=2_000, json_schema_extra={"format": "uri", "pattern": _HTTP_URL}),
    AfterValidator(check_callback_url),
]


class ExecuteRequest(WorkflowOrGraph):
    """A saved workflow or a document to run, with its inputs."""

    workflow_name: Name | None = Field(
        default=None, description="The name of an execution of `graph` in lists."
    )
    inputs: dict[str, Any] | None = Field(
        default=None, description="By node id; all other keys are the payload of the trigger."
    )
    organization_id: Name | None = None
    callback_url: CallbackUrl | None = Field(
        default=None, description="Receives the final state by POST when the execution has ended."
    )


class ExecuteResponse(ApiModel):
    """An execution that was accepted and stored."""

    success: Literal[True] = True
    execution_id: str
    status: Literal["pending"] = "pending"
    message: str = "Workflow execution started in background"
    workflow_id: str
    workflow_name: str


class DefinitionResponse(ApiModel):
    """The workflow that an execution runs."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    data: Any = Field(description="The document; secrets are `***` for roles below `admin`.")


class RerunRequest(RequestModel):
    """The definition and the first node of a rerun, and its inputs."""

    from_node_id: Name | None = Field(
        default=None, description="The first node to run again; by default the failed node."
    )
    inputs: dict[str, Any] | None = Field(
        default=None, description="Replaces the inputs; by default they are the same."
    )
    callback_url: CallbackUrl | None = Field(
        default=None,
        description="Callback of the new execution. The old one is not copied.",
    )
    definition: Literal["original", "current"] | None = Field(
        default=None,
        description="The definition of the old execution (default), or that of the workflow now.",
    )
    graph: dict[str, Any] | None = Field(
        default=None, description="A document that replaces the definition."
    )
    dry_run: StrictBool = Field(
        default=False, description="Return the nodes that would run, and store nothing."
    )


class RerunResponse(ExecuteResponse):
    """A new execution that continues an old one."""

    rerun_of: str
    will_run: list[str] = Field(
        description="Nodes that run again, in the order of the definition. Some may be skipped."
    )
    taken_over: list[str] = Field(description="Nodes whose results are reused.")


class RerunPlanResponse(ApiModel):
    """The effect of a rerun that was not started."""

    rerun_of: str
    dry_run: Literal[True] = True
    will_run: list[str]
    taken_over: list[str]


class ResumeRequest(RequestModel):
    """The decision and the data for a waiting node."""

    approved: StrictBool = True
    data: dict[str, Any] | None = None


class ResumeResponse(ApiModel):
    """The node was resumed."""

    success: Literal[True] = True
    execution_id: str
    node_id: str
    message: str = "Node resumed"


class TokenResponse(ApiModel):
    """A token with which a browser reads one execution."""

    token: str
    execution_id: str
    expires_at: str


class ProgressResponse(ApiModel):
    """Progress of an execution."""

    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    percentage: int


class NodeLogResponse(ApiModel):
    """One node run. ``timestamp`` is its start."""

    node_id: str | None
    node_type: str | None
    node_label: str | None
    status: AnyNodeStatus | None
    duration: int | float | str | None = Field(
        description="Integer milliseconds; rows of other programs may have any number or string."
    )
    timestamp: str | None
    started_at: str | None = Field(
        description="The start of the first attempt; null if the node is skipped, and in rows of"
        " older versions."
    )
    ended_at: str | None = Field(description="The end of the last attempt; null before it.")
    waited_ms: int | None = Field(
        description="Time that the node was `waiting` between the two, in milliseconds."
        " `duration` does not include it."
    )
    waiting_since: str | None = Field(description="Start of the current wait of a `waiting` node.")
    input_data: Any
    output_data: Any
    error: str | None
    attempt: int
    last_error: str | None
    wait_until: str | None
    waiting_for: WaitingFor | None = Field(
        description="The change that ends the wait of a `waiting` node; null if it was resumed"
        " already. `resume` accepts `time`, `event` and `resume`, and `retry` without data."
    )
    reused_from: str | None
    child_execution_id: str | None = Field(
        description="The execution that a `subworkflow` node called."
    )
    percentage: int | None
    message: str | None
    seq: int


class CurrentNodeResponse(ApiModel):
    """The running node that started last, with the progress that its handler reports."""

    node_id: str
    node_type: str | None
    node_label: str | None
    started_at: str | None
    attempt: int
    percentage: int | None
    message: str | None


class CallbackStatusResponse(ApiModel):
    """Status of the callback of an execution; ``url`` has no query."""

    url: str
    attempts: int
    delivered: bool
    delivered_at: str | None
    next_attempt_at: str | None
    abandoned_at: str | None
    last_status: int | None
    last_error: str | None


class FailureWorkflowResponse(ApiModel):
    """The failure workflow of a failed execution, and its execution or why there is none."""

    workflow_id: str
    execution_id: str | None
    error: str | None


class ExecutionResponse(ApiModel):
    """``GET /api/executions/{id}``."""

    execution_id: str
    workflow_id: str
    organization_id: str | None
    status: AnyExecutionStatus
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    current_node_id: str | None
    current_node: CurrentNodeResponse | None
    seq: int
    error: str | None
    queue_position: int | None
    rerun_of: str | None
    parent_execution_id: str | None = Field(description="The execution that called this one.")
    parent_node_id: str | None
    failure_of: str | None = Field(
        description="The failed execution whose failure workflow led to this execution."
    )
    failure_workflow: FailureWorkflowResponse | None = Field(
        description="The failure workflow that this failed execution started."
    )
    flow_run_id: str | None
    cancel_requested: bool
    callback: CallbackStatusResponse | None
    progress: ProgressResponse
    logs: list[NodeLogResponse]
    final_output: Any
    node_results: Any = Field(
        default=None, description="By node id; present after the end if `include` names it."
    )


class LogsResponse(ApiModel):
    """``GET /api/executions/{id}/logs``."""

    execution_id: str
    next_seq: int = Field(
        description="The `afterSeq` of the next page; after the last page, of later changes."
    )
    has_more: bool = Field(description="Whether another page follows.")
    logs: list[NodeLogResponse]


class CancelResponse(ApiModel):
    """``success`` is false if the execution had already ended."""

    success: bool
    execution_id: str
    message: str
    previous_status: AnyExecutionStatus
