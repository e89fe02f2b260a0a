"""What lists are asked for, and what they answer."""

from typing import Annotated, cast

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field

from api.schemas.executions import WITHOUT_NUL, ApiModel, without_nul
from api.schemas.known_values import AnyExecutionStatus, AnyTriggerType
from engine.status import ExecutionStatus


def split_names(values: object) -> object:
    """``include=a,b`` is ``include=a&include=b``; an empty name stays, and is not a valid one."""
    if not isinstance(values, list):
        return values
    return [
        part.strip() for value in cast("list[object]", values) for part in str(value).split(",")
    ]


def split_commas(values: object) -> object:
    """``status=a,b`` is ``status=a&status=b``."""
    if not isinstance(values, list):
        return values
    given = [part.strip() for value in values for part in str(value).split(",")]  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return [part for part in given if part]


def _empty_is_none(text: str | None) -> str | None:
    return text or None


MAX_STATUSES = 50
"""Maximum number of values of a parameter that takes several."""

_Short = Annotated[str, Field(max_length=500, json_schema_extra={"pattern": WITHOUT_NUL})]
_Only = Annotated[_Short | None, AfterValidator(without_nul), AfterValidator(_empty_is_none)]
OfOrganization = Annotated[_Only, Query(alias="organizationId")]
OfWorkflow = Annotated[_Only, Query(alias="workflowId")]
OfParent = Annotated[
    _Only,
    Query(alias="parentExecutionId", description="Only what nodes of this execution called."),
]
"""Filters: only those of this one; an empty text filters nothing."""
Limit = Annotated[int, Query(ge=1, le=1_000)]
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
    Query(description="Several times, or several separated by commas."),
    BeforeValidator(split_commas),
]


class ExecutionSummaryResponse(ApiModel):
    """An execution of one workflow in its list."""

    id: str
    workflow_id: str
    status: AnyExecutionStatus
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None


class ListedExecutionResponse(ExecutionSummaryResponse):
    """An execution in the list of all."""

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
