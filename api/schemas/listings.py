"""Listing schemas: query parameters and responses of lists."""

from typing import Annotated, cast

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field

from api.schemas.base import WITHOUT_NUL, ApiModel, Instant, without_nul
from api.schemas.known_values import AnyExecutionStatus, AnyTriggerType
from engine.status import ExecutionStatus


def split_names(values: object) -> object:
    """Split ``include=a,b`` into two values. Empty names are kept, because they are invalid."""
    if not isinstance(values, list):
        return values
    return [
        part.strip() for value in cast("list[object]", values) for part in str(value).split(",")
    ]


def split_commas(values: object) -> object:
    """Split ``status=a,b`` into two values, and drop empty ones."""
    parts = split_names(values)
    return list(filter(None, cast("list[str]", parts))) if isinstance(parts, list) else parts


def _empty_is_none(text: str | None) -> str | None:
    return text or None


MAX_STATUSES = 50
"""Maximum number of values of a parameter that takes several."""

_Short = Annotated[str, Field(max_length=500, json_schema_extra={"pattern": WITHOUT_NUL})]
TextFilter = Annotated[_Short | None, AfterValidator(without_nul), AfterValidator(_empty_is_none)]
OrganizationFilter = Annotated[
    TextFilter, Query(alias="organizationId", description="Only resources of this organization.")
]
WorkflowFilter = Annotated[
    TextFilter, Query(alias="workflowId", description="Only executions of this workflow.")
]
ParentFilter = Annotated[
    TextFilter,
    Query(alias="parentExecutionId", description="Only executions that this execution called."),
]
"""Filters of lists; an empty string does not filter."""


CreatedFrom = Annotated[
    Instant | None, Query(alias="createdFrom", description="Only executions created then or later.")
]
CreatedTo = Annotated[
    Instant | None,
    Query(alias="createdTo", description="Only executions created before that time."),
]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Maximum size of a page.")]
_Long = Annotated[str, Field(max_length=4_000)]
Cursor = Annotated[
    _Long | None,
    Query(
        description="The `nextCursor` of the page before.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]*$"},
    ),
    AfterValidator(_empty_is_none),
]
Statuses = Annotated[
    Annotated[list[ExecutionStatus], Field(max_length=MAX_STATUSES)],
    Query(description="May be repeated, or have values separated by commas."),
    BeforeValidator(split_commas),
]


class ExecutionSummaryResponse(ApiModel):
    """An execution in the list of one workflow."""

    id: str
    workflow_id: str
    status: AnyExecutionStatus
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None


class ListedExecutionResponse(ExecutionSummaryResponse):
    """An execution in the list of all executions."""

    workflow_name: str | None
    organization_id: str | None
    trigger_type: AnyTriggerType | None
    rerun_of: str | None
    parent_execution_id: str | None


class WorkflowExecutionsResponse(ApiModel):
    """``GET /api/workflows/{id}/executions``."""

    workflow_id: str
    workflow_name: str
    executions: list[ExecutionSummaryResponse]
    total: int
    next_cursor: str | None


class ExecutionsResponse(ApiModel):
    """``GET /api/executions``."""

    executions: list[ListedExecutionResponse]
    next_cursor: str | None
