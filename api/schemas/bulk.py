"""Bulk schemas: one action on many executions, its progress and its outcomes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictStr

from api.schemas.base import ApiModel, Instant, Name, RequestModel
from api.schemas.listings import MAX_STATUSES
from engine.status import ExecutionStatus

MAX_IDS = 10_000
"""Maximum number of ids in one request."""

Fingerprint = Annotated[StrictStr, Field(min_length=1, max_length=100, pattern="^[0-9a-f]+$")]


class BulkFilterRequest(RequestModel):
    """The executions that meet all conditions. At least one condition is required."""

    organization_id: Name | None = Field(
        default=None, description="Limits the operation, but is not a condition of its own."
    )
    workflow_id: Name | None = None
    status: list[ExecutionStatus] | None = Field(default=None, max_length=MAX_STATUSES)
    failure: Fingerprint | None = Field(
        default=None, description="The `fingerprint` of a group of `GET /api/failures`."
    )
    created_from: Instant | None = None
    created_to: Instant | None = None
    include_rerun: StrictBool = Field(
        default=False,
        description="Whether `rerun` includes failed executions that were run again before.",
    )


class BulkRequestBody(RequestModel):
    """An action, and the executions to which it is applied: `ids` or `filter`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["ids"],
                    "properties": {"ids": {"type": "array"}, "filter": {"type": "null"}},
                },
                {
                    "required": ["filter"],
                    "properties": {"ids": {"type": "null"}, "filter": {"type": "object"}},
                },
            ]
        }
    )

    action: Literal["rerun", "cancel", "delete"]
    ids: list[Name] | None = Field(default=None, min_length=1, max_length=MAX_IDS)
    filter: BulkFilterRequest | None = None
    definition: Literal["original", "current"] = Field(
        default="original", description="The definition that `rerun` uses."
    )
    dry_run: StrictBool = Field(
        default=False, description="Return the number of executions, and store nothing."
    )


class BulkResponse(ApiModel):
    """A stored operation, or the size of one that a dry run did not store."""

    bulk_id: str | None
    matched: int = Field(description="Number of executions of the operation.")
    dry_run: bool = False


class BulkItemResponse(ApiModel):
    """One execution of a bulk operation, with its outcome."""

    execution_id: str
    status: Literal["pending", "succeeded", "failed"]
    new_execution_id: str | None = Field(description="The rerun of the execution.")
    error: str | None = Field(description="Why the action could not be applied.")


class BulkProgressResponse(ApiModel):
    """``GET /api/bulk/{id}``."""

    bulk_id: str
    organization_id: str | None
    action: Literal["rerun", "cancel", "delete"]
    definition: Literal["original", "current"] | None
    status: Literal["running", "completed"]
    matched: int
    processed: int
    succeeded: int
    failed: int
    percentage: int
    created_at: str
    completed_at: str | None
    items: list[BulkItemResponse]
    next_cursor: str | None
