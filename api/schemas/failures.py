"""Failure schemas: failed executions in groups."""

from pydantic import Field

from api.schemas.base import ApiModel


class FailureGroupResponse(ApiModel):
    """Failed executions of the same workflow and node with the same normalized error."""

    fingerprint: str = Field(description="Identifies the group, also as a filter of bulk calls.")
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    node_id: str | None = Field(description="Null if no node is the cause, as after a timeout.")
    node_type: str | None
    message: str = Field(description="The error without ids, times and numbers.")
    count: int
    rerun_count: int = Field(description="Number of those executions that were run again.")
    first_at: str
    last_at: str
    execution_ids: list[str] = Field(description="The last three, newest first.")


class FailuresResponse(ApiModel):
    """``GET /api/failures``."""

    failures: list[FailureGroupResponse]
