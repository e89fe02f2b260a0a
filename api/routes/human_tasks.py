"""Task routes: list, read and complete the tasks of people."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request, Response

from api.auth.tenancy import TenantScope, TenantScopeDep
from api.auth.tokens import TASK_PAGES, TaskToken
from api.bodies.json_responses import encoded_model, encoded_page
from api.bodies.strict_json import StrictRoute
from api.dependencies import Services, ServicesDep
from api.pagination import parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.human_tasks import (
    AssigneeFilter,
    CompleteTaskRequest,
    TaskExecutionFilter,
    TaskLinkRequest,
    TaskLinkResponse,
    TaskResponse,
    TasksResponse,
    TaskStatuses,
)
from api.schemas.listings import Cursor, Limit, OrganizationFilter
from database import to_text
from database.executions.human_tasks import Answer
from database.human_tasks.records import HumanTask, TaskFilter
from database.queries.results import TaskCursor
from engine.request_errors import TaskNotFoundError
from flows.intake.human_tasks import require_answerable

TASK_CHARS_ESTIMATE = 700
"""Approximate size of a task in a list, in characters."""

router = resource_router("/api/tasks", "tasks", StrictRoute)


async def _wanted(
    scope: TenantScopeDep,
    status: TaskStatuses = [],  # noqa: B006 - FastAPI copies defaults
    assignee: AssigneeFilter = None,
    execution_id: TaskExecutionFilter = None,
    organization_id: OrganizationFilter = None,
) -> TaskFilter:
    """Return the filter of a list, within the organization of the caller."""
    organization_id = scope.organization(organization_id)
    return TaskFilter(organization_id, assignee, execution_id, frozenset(status))


@router.get(
    "",
    operation_id="listTasks",
    response_model=TasksResponse,
    responses={422: {"model": ProblemDetails}},
)
async def list_tasks(
    services: ServicesDep,
    wanted: Annotated[TaskFilter, Depends(_wanted)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the tasks of people, newest first."""
    page = await services.human_tasks.page(wanted, limit, parse_cursor(TaskCursor, cursor))
    return await encoded_page(TasksResponse, "tasks", page, TASK_CHARS_ESTIMATE)


@router.get(
    "/{task_id}",
    operation_id="getTask",
    response_model=TaskResponse,
    responses={404: {"model": ProblemDetails}},
)
async def get_task(task_id: str, services: ServicesDep, scope: TenantScopeDep) -> Response:
    """Return a task with its form and its answers."""
    return await _response(await _accessible(task_id, services, scope))


@router.post(
    "/{task_id}/complete",
    operation_id="completeTask",
    response_model=TaskResponse,
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422)},
)
async def complete_task(
    task_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    request: CompleteTaskRequest | None = None,
) -> Response:
    """Answer a task. If the answer decides, the task ends and its node continues."""
    body = request or CompleteTaskRequest()
    task = await _accessible(task_id, services, scope)
    answer = Answer(body.approved, body.data, body.assignee or "")
    return await _response(await services.human_tasks.complete(task, answer))


@router.post(
    "/{task_id}/links",
    operation_id="createTaskLink",
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422)},
)
async def create_link(
    task_id: str,
    http_request: Request,
    services: ServicesDep,
    scope: TenantScopeDep,
    request: TaskLinkRequest | None = None,
) -> TaskLinkResponse:
    """Create a link to a page on which a person answers a task once, without a key."""
    body = request or TaskLinkRequest()
    task = await _accessible(task_id, services, scope)
    require_answerable(task, body.assignee or "")
    expires_at = services.database.clock().replace(microsecond=0)
    expires_at += timedelta(seconds=body.expires_in_seconds)
    claims = TaskToken(task.id, body.assignee or "")
    token = services.authenticator.tokens.issue_task(claims, expires_at)
    base = str(http_request.base_url).rstrip("/")
    return TaskLinkResponse(
        url=f"{base}{TASK_PAGES}{token}", assignee=body.assignee, expires_at=to_text(expires_at)
    )


async def _response(task: HumanTask) -> Response:
    return await encoded_model(len(task.form or ""), lambda: TaskResponse.of_task(task))


async def _accessible(task_id: str, services: Services, scope: TenantScope) -> HumanTask:
    """Return a task.

    Raises:
        TaskNotFoundError: If it does not exist, or belongs to another tenant.
    """
    own = scope.organization(None)
    task = await services.human_tasks.read(task_id)
    if own is not None and task.organization_id != own:
        raise TaskNotFoundError(task_id)
    return task
