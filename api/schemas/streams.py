"""Stream schemas: describe the messages of streams in the OpenAPI document."""

from typing import Any

from pydantic import Field

from api.schemas.base import ApiModel
from api.schemas.executions import CurrentNodeResponse, NodeLogResponse, ProgressResponse
from api.schemas.known_values import AnyEventType, AnyExecutionStatus


class ExecutionMessage(ApiModel):
    """A message about an execution: the `data` of an event, or a WebSocket message."""

    type: AnyEventType
    execution_id: str
    workflow_id: str | None = None
    organization_id: str | None = None
    status: AnyExecutionStatus | None = Field(description="`null` if the execution was deleted.")
    progress: ProgressResponse | None = None
    current_node_id: str | None = None
    current_node: CurrentNodeResponse | None = None
    seq: int | None = None
    position: int | None = None
    timestamp: str | None = None
    snapshot: bool | None = None
    logs: list[NodeLogResponse] = Field(description="The changed node run; in a snapshot, all.")
    omitted_logs: int | None = Field(
        default=None, description="Number of older node runs that a snapshot does not contain."
    )
    error: str | None = Field(default=None, description="Part of the last message.")
    final_output: Any = Field(default=None, description="Part of the last message.")
    deleted: bool | None = None
