"""What saving workflows looks like."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from api.schemas.base import ApiModel, RequestModel
from api.schemas.executions import Name
from database.executions.inline_workflows import is_inline_workflow_id

FIXED_NAMES = frozenset({"execute", "validate"})
"""Parts of the interface's own paths, and so no ids."""
MAX_TAGS = 100


def is_own_path(workflow_id: str) -> bool:
    """Whether what stands for an id in a path is a path of the interface's own."""
    return workflow_id in FIXED_NAMES or workflow_id.endswith("/executions")


def _fit_for_a_path(workflow_id: str) -> str:
    parts = workflow_id.split("/")
    if is_own_path(workflow_id):
        raise PydanticCustomError("invalid_id", "the interface has a path of that name")
    if is_inline_workflow_id(workflow_id):
        raise PydanticCustomError("invalid_id", "ids that begin so are the service's own")
    if any(part in ("", ".", "..") for part in parts):
        reason = "a part between slashes that is empty, '.' or '..' does not survive in a URL"
        raise PydanticCustomError("invalid_id", reason)
    return workflow_id


Tags = Annotated[list[Name], Field(max_length=MAX_TAGS)]


_ReadOnly = Annotated[
    Any, Field(json_schema_extra={"readOnly": True}, description="Of responses; is ignored.")
]


class WorkflowContent(RequestModel):
    """A workflow to save, in either spelling. What cannot run yet can be saved.

    Fields of a response may be sent back.
    """

    name: Name = Field(examples=["My workflow"])
    data: dict[str, Any] = Field(
        description="The document: `nodes`, `connections` or `edges`.",
        examples=[{"nodes": [{"id": "start", "type": "trigger"}], "connections": []}],
    )
    tags: Tags | None = None
    created_at: _ReadOnly = None
    updated_at: _ReadOnly = None
    valid: _ReadOnly = None
    errors: _ReadOnly = None
    more_errors: _ReadOnly = None


class CreateWorkflowRequest(WorkflowContent):
    """A new workflow; without an ``id`` it gets one."""

    id: Annotated[Name, AfterValidator(_fit_for_a_path)] | None = None
    organization_id: Name | None = None


class UpdateWorkflowRequest(WorkflowContent):
    """A workflow as it shall be. ``id`` and ``organizationId`` may be sent back as they are."""

    id: Name | None = None
    organization_id: Name | None = None


class WorkflowSummaryResponse(ApiModel):
    """A workflow in a list. Documents may be large, and are left out."""

    id: str
    organization_id: str | None
    name: str
    tags: Any
    created_at: str | None
    updated_at: str | None


class WorkflowResponse(WorkflowSummaryResponse):
    """``GET /api/workflows/{id}``: a workflow with its document as it was sent."""

    data: Any


class SavedWorkflowResponse(WorkflowResponse):
    """A workflow just saved, and whether it could run."""

    valid: bool
    errors: list[dict[str, str]] = Field(description="Pointers into what was sent: `/data/…`.")
    more_errors: int = Field(
        default=0,
        exclude_if=lambda count: count == 0,
        description="Number of further errors, if there are any; 100 are listed.",
    )


class WorkflowsResponse(ApiModel):
    """``GET /api/workflows``."""

    workflows: list[WorkflowSummaryResponse]
    next_cursor: str | None
