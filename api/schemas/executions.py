"""What requests and answers look like. Field names are the frontend's camelCase."""

import re
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.schemas.base import ApiModel, RequestModel
from api.schemas.known_values import AnyExecutionStatus, AnyNodeStatus
from flows.callbacks.request import check_callback_url

_UNPRINTABLE = re.compile(r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]")


def without_nul(text: str | None) -> str | None:
    """Refuses what PostgreSQL does not store."""
    if text is not None and "\0" in text:
        raise ValueError("a NUL character, which not every database stores")
    return text


def without_control_characters(text: str) -> str:
    """Return an id or a name of one line.

    Raises:
        ValueError: If it has a control character or a line break.
    """
    found = _UNPRINTABLE.search(text)
    if found is not None:
        raise ValueError(
            f"has the character U+{ord(found[0]):04X} at position {found.start()}; "
            "control characters and line breaks are not accepted"
        )
    return text


# The patterns are for the description of the interface: the validators say better what is wrong.
WITHOUT_NUL = r"^[^\u0000]*$"
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
Name = Annotated[
    StrictStr,
    Field(min_length=1, max_length=500, json_schema_extra={"pattern": ONE_LINE}),
    AfterValidator(without_control_characters),
]

_WEB_ADDRESS = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\u0000-\u0020\u007f-\u009f]+$"
CallbackUrl = Annotated[
    StrictStr,
    Field(max_length=2_000, json_schema_extra={"format": "uri", "pattern": _WEB_ADDRESS}),
    AfterValidator(check_callback_url),
]

EITHER: dict[str, Any] = {
    "oneOf": [
        {
            "required": ["workflowId"],
            "properties": {"workflowId": {"type": "string"}, "graph": {"type": "null"}},
        },
        {
            "required": ["graph"],
            "properties": {"workflowId": {"type": "null"}, "graph": {"type": "object"}},
        },
    ]
}
"""A saved workflow or a document, as JSON Schema says it."""


class ServiceStatus(ApiModel):
    """``GET /``."""

    service: str = "Workflow Orchestration Service"
    status: Literal["running"] = "running"
    version: str
    timestamp: str
    docs: str = "/docs"


class ExecuteRequest(RequestModel):
    """What to run, a saved workflow or a document, and what its nodes take."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    # Before the other one, which looks at it.
    graph: dict[str, Any] | None = Field(
        default=None, description="A document to run unsaved, in place of `workflowId`."
    )
    workflow_id: Name | None = Field(default=None, examples=["example-hello-world"])
    workflow_name: Name | None = Field(
        default=None, description="What an execution of `graph` is called in lists."
    )
    inputs: dict[str, Any] | None = Field(
        default=None, description="By node id; other keys together are the trigger's payload."
    )
    organization_id: Name | None = None
    callback_url: CallbackUrl | None = Field(
        default=None, description="Gets the final state by POST when the execution has ended."
    )

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, data: Any) -> Any:
        # A default is not validated, or named by its Python name where it is.
        if isinstance(data, dict) and "workflow_id" not in data:
            return {"workflowId": None, **cast("dict[str, Any]", data)}
        return cast("Any", data)

    @field_validator("workflow_id")
    @classmethod
    def _one_of_both(cls, workflow_id: str | None, info: ValidationInfo) -> str | None:
        if "graph" not in info.data:
            return workflow_id  # it is refused already
        if workflow_id is None and info.data["graph"] is None:
            raise PydanticCustomError("missing", "Field required, or 'graph' in its place")
        if workflow_id is not None and info.data["graph"] is not None:
            raise PydanticCustomError(
                "mutually_exclusive", "'workflowId' and 'graph' exclude each other"
            )
        return workflow_id


class ExecuteResponse(ApiModel):
    """An execution that is accepted and stored."""

    success: Literal[True] = True
    execution_id: str
    status: Literal["pending"] = "pending"
    message: str = "Workflow execution started in background"
    workflow_id: str
    workflow_name: str


class RerunRequest(RequestModel):
    """From where an execution is run again, and with what."""

    from_node_id: Name | None = Field(
        default=None, description="The first node to run again; without it, where it failed."
    )
    inputs: dict[str, Any] | None = Field(
        default=None, description="Instead of the inputs it had; without them, the same."
    )
    callback_url: CallbackUrl | None = Field(
        default=None, description="Of the new execution; the old one's is not taken over."
    )


class RerunResponse(ExecuteResponse):
    """A new execution that goes on from an old one."""

    rerun_of: str


class ResumeRequest(RequestModel):
    """What is said to a node that waits."""

    approved: StrictBool = True
    data: dict[str, Any] | None = None


class ResumeResponse(ApiModel):
    """The node will go on."""

    success: Literal[True] = True
    execution_id: str
    node_id: str
    message: str = "Node resumed"


class TokenResponse(ApiModel):
    """What a browser needs to follow one execution."""

    token: str
    execution_id: str
    expires_at: str


class ProgressResponse(ApiModel):
    """How far an execution is."""

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
        description="Milliseconds, an integer; rows of other programs may have any number or text."
    )
    timestamp: str | None
    started_at: str | None = Field(
        description="The start of the first attempt; null if the node is skipped, and in rows of"
        " older versions."
    )
    ended_at: str | None = Field(description="The end of the last attempt; null before it.")
    waited_ms: int | None = Field(
        description="Of the time between the two: how long the node was `waiting`, in"
        " milliseconds. `duration` does not contain it."
    )
    waiting_since: str | None = Field(
        description="Of a node that is `waiting`: since when it has been."
    )
    input_data: Any
    output_data: Any
    error: str | None
    attempt: int
    last_error: str | None
    wait_until: str | None
    reused_from: str | None
    child_execution_id: str | None = Field(
        description="Of a `subworkflow` node: the execution that it called."
    )
    percentage: int | None
    message: str | None
    seq: int


class CurrentNodeResponse(ApiModel):
    """The node started last that still runs, with what its handler reports of itself."""

    node_id: str
    node_type: str | None
    node_label: str | None
    started_at: str | None
    attempt: int
    percentage: int | None
    message: str | None


class CallbackStatusResponse(ApiModel):
    """How far the callback of an execution is; ``url`` without its query."""

    url: str
    attempts: int
    delivered: bool
    delivered_at: str | None
    next_attempt_at: str | None
    abandoned_at: str | None
    last_status: int | None
    last_error: str | None


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
    parent_execution_id: str | None = Field(description="The execution whose node called it.")
    parent_node_id: str | None
    flow_run_id: str | None
    cancel_requested: bool
    callback: CallbackStatusResponse | None
    progress: ProgressResponse
    logs: list[NodeLogResponse]
    final_output: Any
    node_results: Any = Field(
        default=None, description="By node id; there if `include` names it, once it has ended."
    )


class LogsResponse(ApiModel):
    """``GET /api/executions/{id}/logs``."""

    execution_id: str
    next_seq: int = Field(
        description="The `afterSeq` of the next page; of the last page, of what changes later."
    )
    has_more: bool = Field(description="Whether another page follows.")
    logs: list[NodeLogResponse]


class CancelResponse(ApiModel):
    """``success`` is false where there was nothing left to cancel."""

    success: bool
    execution_id: str
    message: str
    previous_status: AnyExecutionStatus


class NodeExecuteRequest(RequestModel):
    """One node to run alone, now. ``node`` is the node as the editor has it."""

    workflow_id: Name = Field(examples=["example-hello-world"])
    node_id: Name = Field(examples=["say"])
    node_type: Name = Field(examples=["addField"])
    node: dict[str, Any] = Field(
        examples=[
            {
                "id": "say",
                "type": "addField",
                "config": {"addFieldName": "greeting", "addFieldValue": "hello"},
            }
        ]
    )
    input_data: Any = Field(default=None, examples=[{"who": "world"}])


class NodeExecuteResponse(ApiModel):
    """What the node's handler returned, or why it failed."""

    success: bool
    node_id: str
    node_type: str
    output: dict[str, Any] | None = None
    message: str | None = None
    error: str | None = None


class PortResponse(ApiModel):
    """A port of a node type."""

    name: str
    title: str
    aliases: list[str] = Field(
        description="Other names that connections may use. Upper and lower case are equal."
    )


class PortsResponse(ApiModel):
    """The inputs and outputs of a node type."""

    inputs: list[PortResponse]
    outputs: list[PortResponse] = Field(description="With `error`, which every type has.")


class NodeTypeResponse(ApiModel):
    """A node type: how the editor shows it, and the form of its config."""

    type: str
    title: str
    description: str
    category: str
    inputs: list[str]
    outputs: list[str]
    ports: PortsResponse = Field(description="The same ports with their titles and aliases.")
    config_schema: dict[str, Any] = Field(
        serialization_alias="schema", description="JSON Schema draft-07."
    )
    ui_schema: dict[str, Any] = Field(description="Hints for react-jsonschema-form.")
    defaults: dict[str, Any] = Field(description="What a field is when it is not set.")
    secret_fields: list[str] = Field(
        description="JSON pointers into a config; `*` stands for every item."
    )
    off: str | None = Field(description="Why workflows with it are refused here, if they are.")


class ProblemDetails(ApiModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(default=None, description="The first 100.")
    more_errors: int | None = Field(default=None, description="Number of further errors.")
    unchecked_nodes: int | None = Field(
        default=None, description="Number of nodes that were not checked, after many errors."
    )
