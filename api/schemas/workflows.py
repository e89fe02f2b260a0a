"""Workflow schemas: saved workflows, their lists, and the validation of documents."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from api.schemas.base import ONE_LINE, ApiModel, Name, RequestModel, WorkflowOrGraph
from database.executions.inline_workflows import is_inline_workflow_id
from database.foreign_values import json_of

FIXED_PATHS = frozenset({"execute", "validate"})
"""Names of fixed paths, which ids must not equal."""
MAX_TAGS = 100
"""Maximum number of tags of a workflow."""


def _require_path_segment(workflow_id: str) -> str:
    if workflow_id in FIXED_PATHS:
        raise PydanticCustomError("invalid_id", "this id is the name of a fixed path")
    if is_inline_workflow_id(workflow_id):
        raise PydanticCustomError("invalid_id", "the prefix of this id is reserved")
    if "/" in workflow_id or workflow_id in (".", ".."):
        raise PydanticCustomError("invalid_id", "an id is one part of a URL: no '/', '.' or '..'")
    return workflow_id


_PATH_SEGMENT = Field(json_schema_extra={"pattern": ONE_LINE.replace("]*$", "/]*$")})
Tags = Annotated[list[Name], Field(max_length=MAX_TAGS)]


_ReadOnly = Annotated[
    Any,
    Field(json_schema_extra={"readOnly": True}, description="Ignored in requests."),
]


class WorkflowContent(RequestModel):
    """A workflow to save, in the form of the editor or of React Flow.

    A document that cannot run is saved too. A response can be sent back as a request.
    """

    name: Name
    data: dict[str, Any] = Field(description="The document: `nodes`, `connections` or `edges`.")
    tags: Tags | None = None
    created_at: _ReadOnly = None
    updated_at: _ReadOnly = None
    valid: _ReadOnly = None
    errors: _ReadOnly = None
    more_errors: _ReadOnly = None


class CreateWorkflowRequest(WorkflowContent):
    """A new workflow. Without an ``id`` the service creates one."""

    id: Annotated[Name, AfterValidator(_require_path_segment), _PATH_SEGMENT] | None = None
    organization_id: Name | None = None


class UpdateWorkflowRequest(WorkflowContent):
    """The new content of a workflow. ``id`` and ``organizationId`` must not change."""

    id: Name | None = None
    organization_id: Name | None = None


class WorkflowSummaryResponse(ApiModel):
    """A workflow in a list, without its document, which may be large."""

    id: str
    organization_id: str | None
    name: str
    tags: Annotated[Any, BeforeValidator(json_of)]
    created_at: str | None
    updated_at: str | None


class WorkflowResponse(WorkflowSummaryResponse):
    """``GET /api/workflows/{id}``: a workflow with its document."""

    data: Any


class SavedWorkflowResponse(WorkflowResponse):
    """A workflow that was just saved, and whether it can run."""

    valid: bool
    errors: list[dict[str, str]] = Field(description="Problems of `data`.")
    more_errors: int = Field(
        default=0,
        exclude_if=lambda count: count == 0,
        description="Number of further errors; 100 are listed.",
    )


class WorkflowsResponse(ApiModel):
    """``GET /api/workflows``."""

    workflows: list[WorkflowSummaryResponse]
    next_cursor: str | None


class ValidateRequest(WorkflowOrGraph):
    """A saved workflow or a document to validate."""


class DocumentProblemResponse(ApiModel):
    """A problem of a document."""

    code: str
    detail: str
    pointer: str = Field(description="JSON pointer into the document that was sent.")
    node_id: str | None = None
    connection_id: str | None = None


class ValidateResponse(ApiModel):
    """Whether a document can run, and its problems."""

    valid: bool
    errors: list[DocumentProblemResponse]
    warnings: list[DocumentProblemResponse] = Field(
        description="Parts of the document that are not part of an execution."
    )
    detail: str | None = Field(
        default=None, description="`and N more`, if further errors are not listed."
    )
    more_errors: int | None = Field(
        default=None, description="Number of further errors; 100 are listed."
    )
    unchecked_nodes: int | None = Field(
        default=None, description="Number of nodes that were not checked, after many errors."
    )
    more_warnings: int | None = Field(default=None, description="As `moreErrors`.")
