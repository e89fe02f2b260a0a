"""Bodies of the validation of documents."""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.base import ApiModel, RequestModel
from api.schemas.executions import EITHER, Name


class ValidateRequest(RequestModel):
    """A workflow to look at: a saved one or a document, exactly one of the two."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    workflow_id: Name | None = Field(default=None, examples=["example-hello-world"])
    graph: dict[str, Any] | None = Field(default=None, description="A document, unsaved.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.workflow_id is None) == (self.graph is None):
            raise PydanticCustomError(
                "exactly_one_required", "exactly one of 'workflowId' and 'graph' is required"
            )
        return self


class DocumentProblemResponse(ApiModel):
    """One reason why a document cannot run."""

    code: str
    detail: str
    pointer: str = Field(description="JSON pointer into the document, in the spelling it has.")
    node_id: str | None = None
    connection_id: str | None = None


class ValidateResponse(ApiModel):
    """Whether a document can run, and every reason why not."""

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
