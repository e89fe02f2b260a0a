"""Workflow routes: save, read, validate and delete workflows, without the main project."""

import uuid
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Response

from api.auth.tenancy import TenantScope, TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import Services, ServicesDep
from api.etags import MASKED, IfMatch, IfNoneMatch, etag, matches_version, required_versions
from api.masked_documents import reject_masks, shown_document, update_keeping_secrets
from api.pagination import encode_cursor, parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.listings import Cursor, Limit, OrganizationFilter
from api.schemas.workflows import (
    CreateWorkflowRequest,
    DocumentProblemResponse,
    SavedWorkflowResponse,
    UpdateWorkflowRequest,
    ValidateRequest,
    ValidateResponse,
    WorkflowContent,
    WorkflowResponse,
    WorkflowsResponse,
)
from database.queries.results import WorkflowCursor
from database.records import Workflow, WorkflowChange
from database.workflows import version_of
from engine.errors import InvalidDocumentError, InvalidWorkflowError, Problem
from engine.json_values import encode_json
from engine.problems import MAX_PROBLEMS, format_remaining
from flows.encoding import encode_off_loop

router = resource_router("/api/workflows", "workflows", StrictRoute)


Force = Annotated[bool, Query(description="Also cancel and delete executions that have not ended.")]


@router.post(
    "/validate",
    operation_id="validateWorkflow",
    response_model_exclude_none=True,
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def validate(
    request: ValidateRequest, services: ServicesDep, scope: TenantScopeDep
) -> ValidateResponse:
    """Return the problems because of which a document cannot run, as its submission would."""
    document = request.graph
    if request.workflow_id is not None:
        await scope.require_workflow(request.workflow_id)
        document = (await services.database.queries.workflow(request.workflow_id)).data
    try:
        warnings = await services.submissions.warnings(document)
    except InvalidDocumentError as error:
        return ValidateResponse(
            valid=False,
            errors=_problems(error.problems),
            warnings=_problems(error.warnings),
            detail=format_remaining(error.more, error.unchecked_nodes) or None,
            more_errors=error.more or None,
            unchecked_nodes=error.unchecked_nodes or None,
            more_warnings=_more_than_listed(error.warnings),
        )
    return ValidateResponse(
        valid=True,
        errors=[],
        warnings=_problems(warnings),
        more_warnings=_more_than_listed(warnings),
    )


def _problems(problems: Iterable[Problem]) -> list[DocumentProblemResponse]:
    listed = islice(problems, MAX_PROBLEMS)
    return [DocumentProblemResponse.model_validate(problem.as_json()) for problem in listed]


def _more_than_listed(problems: Sequence[Problem]) -> int | None:
    return len(problems[MAX_PROBLEMS:]) or None


@router.get("", operation_id="listWorkflows", responses={422: {"model": ProblemDetails}})
async def list_workflows(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: OrganizationFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WorkflowsResponse:
    """List workflows without their documents, newest first."""
    organization_id = scope.organization(organization_id)
    page = await services.database.listings.workflows(
        organization_id, limit, parse_cursor(WorkflowCursor, cursor)
    )
    return WorkflowsResponse.of_fields(
        {"workflows": page.items, "next_cursor": encode_cursor(page.end)}
    )


@router.post(
    "",
    operation_id="createWorkflow",
    status_code=HTTPStatus.CREATED,
    responses={status: {"model": ProblemDetails} for status in (409, 422)},
)
async def create_workflow(
    request: CreateWorkflowRequest, services: ServicesDep, scope: TenantScopeDep, response: Response
) -> SavedWorkflowResponse:
    """Save a new workflow, and return the problems because of which it cannot run."""
    organization_id = scope.organization(request.organization_id)
    services.submissions.check_size(request.data, "/data")
    await reject_masks(request.data, "/data", services, InvalidWorkflowError)
    workflow = await services.database.workflows.create(
        request.id or str(uuid.uuid4()), organization_id, await _change(request)
    )
    response.headers["Location"] = f"/api/workflows/{quote(workflow.id)}"
    return await _saved(workflow, services, scope, response)


@router.get(
    "/{workflow_id}",
    operation_id="getWorkflow",
    response_model=WorkflowResponse,
    responses={
        HTTPStatus.NOT_MODIFIED: {"description": "The client already has this version"},
        HTTPStatus.NOT_FOUND: {"model": ProblemDetails},
        HTTPStatus.METHOD_NOT_ALLOWED: {"model": ProblemDetails},  # for the name of a fixed path
    },
)
async def get_workflow(
    workflow_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> WorkflowResponse | Response:
    """Return a workflow with its document. Its ``ETag`` is its ``updatedAt``.

    For roles below ``admin`` its secrets are ``***``.
    """
    workflow = await services.database.workflows.read(workflow_id)
    document, is_masked = await shown_document(workflow.data, scope.caller, services)
    version = version_of(workflow) + (MASKED if is_masked else "")
    headers = {"ETag": etag(version), "Cache-Control": "no-cache"}
    if matches_version(if_none_match, version):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    response.headers.update(headers)
    return WorkflowResponse.of_row(workflow, data=document)


@router.put(
    "/{workflow_id}",
    operation_id="updateWorkflow",
    responses={status: {"model": ProblemDetails} for status in (404, 405, 412, 422)},
)
async def update_workflow(
    workflow_id: str,
    request: UpdateWorkflowRequest,
    services: ServicesDep,
    scope: TenantScopeDep,
    response: Response,
    if_match: IfMatch = None,
) -> SavedWorkflowResponse:
    """Update a workflow; with ``If-Match`` only if its version matches.

    A secret that is sent as ``***`` keeps its stored value.
    """
    scope.organization(request.organization_id)
    stored = await services.database.workflows.read(workflow_id)
    _require_same_ids(stored, request)
    services.submissions.check_size(request.data, "/data")
    workflow = await update_keeping_secrets(
        stored, await _change(request), required_versions(if_match), services
    )
    return await _saved(workflow, services, scope, response)


@router.delete(
    "/{workflow_id}",
    operation_id="deleteWorkflow",
    status_code=HTTPStatus.NO_CONTENT,
    responses={status: {"model": ProblemDetails} for status in (404, 405, 409, 412)},
)
async def delete_workflow(
    workflow_id: str,
    services: ServicesDep,
    if_match: IfMatch = None,
    force: Force = False,  # noqa: FBT002 - FastAPI passes it by name
) -> None:
    """Delete a workflow and its executions. Active executions prevent it, unless forced."""
    cancelled = await services.database.workflows.delete(
        workflow_id, required_versions(if_match), force=force
    )
    for execution_id in cancelled:
        services.worker.cancel(execution_id)


def _require_same_ids(stored: Workflow, request: UpdateWorkflowRequest) -> None:
    fields = (
        ("id", "id", stored.id, request.id),
        ("organizationId", "organization_id", stored.organization_id, request.organization_id),
    )
    problems = [
        Problem("immutable_field", f"'{name}' is {encode_json(value)} and stays so", f"/{name}")
        for name, field, value, sent in fields
        if field in request.model_fields_set and sent != value
    ]
    if problems:
        raise InvalidWorkflowError(problems)


async def _change(content: WorkflowContent) -> WorkflowChange:
    return WorkflowChange(
        name=content.name,
        data=await encode_off_loop(content.data),
        tags=None if content.tags is None else await encode_off_loop(content.tags),
        keep_tags="tags" not in content.model_fields_set,
    )


async def _saved(
    workflow: Workflow, services: Services, scope: TenantScope, response: Response
) -> SavedWorkflowResponse:
    errors: list[dict[str, str]] = []
    more = 0
    try:
        await services.submissions.check_in_thread(workflow.data)
    except InvalidDocumentError as error:
        errors = [problem.as_json() for problem in error.within("/data").problems]
        more = error.more
    document, _ = await shown_document(workflow.data, scope.caller, services)
    response.headers["ETag"] = etag(version_of(workflow))
    return SavedWorkflowResponse.of_row(
        workflow, data=document, valid=not errors, errors=errors, more_errors=more
    )
