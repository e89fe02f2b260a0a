"""Workflows, for those who have no main project that saves them."""

import uuid
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from api.auth.tenancy import TenantScope, TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import Services, ServicesDep
from api.etags import MASKED, IfMatch, IfNoneMatch, etag, is_known, wanted_versions
from api.masked_documents import reject_masks, shown_document, update_keeping_secrets
from api.pagination import encode_place, workflow_place
from api.schemas.executions import ProblemDetails
from api.schemas.listings import Cursor, Limit, OfOrganization
from api.schemas.views import json_value
from api.schemas.workflows import (
    CreateWorkflowRequest,
    SavedWorkflowResponse,
    UpdateWorkflowRequest,
    WorkflowContent,
    WorkflowResponse,
    WorkflowsResponse,
    WorkflowSummaryResponse,
)
from database.records import SavedWorkflow, WorkflowChange
from database.workflows import version_of
from engine.errors import InvalidDocumentError, InvalidWorkflowError, Problem
from engine.json_values import JsonValue, encode_json
from flows.intake.encoding import encode_off_loop

router = APIRouter(prefix="/api/workflows", tags=["workflows"], route_class=StrictRoute)


Force = Annotated[bool, Query(description="Stop and delete executions that have not ended, too.")]


@router.get("", operation_id="listWorkflows", responses={422: {"model": ProblemDetails}})
async def list_workflows(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: OfOrganization = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WorkflowsResponse:
    """Workflows, newest first, without their documents."""
    organization_id = scope.organization(organization_id)
    page = await services.database.listings.workflows(
        organization_id, limit, workflow_place(cursor)
    )
    return WorkflowsResponse(
        workflows=[
            WorkflowSummaryResponse(
                id=workflow.id,
                organization_id=workflow.organization_id,
                name=workflow.name,
                tags=json_value(workflow.tags),
                created_at=workflow.created_at,
                updated_at=workflow.updated_at,
            )
            for workflow in page.items
        ],
        next_cursor=encode_place(page.end),
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
    """Saves a new workflow; one that cannot run yet too, and says why it cannot."""
    organization_id = scope.organization(request.organization_id)
    services.submissions.check_size(request.data, "/data")
    await reject_masks(request.data, "/data", services, InvalidWorkflowError)
    workflow = await services.database.workflows.create(
        request.id or str(uuid.uuid4()), organization_id, await _change(request)
    )
    response.headers["Location"] = f"/api/workflows/{quote(workflow.id)}"
    return await _saved(workflow, services, scope, response)


# ``path``: an id may hold a slash, and servers hand paths over decoded.
@router.get(
    "/{workflow_id:path}",
    operation_id="getWorkflow",
    response_model=WorkflowResponse,
    responses={
        HTTPStatus.NOT_MODIFIED: {"description": "The caller has this version already"},
        HTTPStatus.NOT_FOUND: {"model": ProblemDetails},
        HTTPStatus.METHOD_NOT_ALLOWED: {"model": ProblemDetails},  # of a fixed name
    },
)
async def read_workflow(
    workflow_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> WorkflowResponse | Response:
    """One workflow with its document. Its ``ETag`` is its ``updatedAt``.

    For roles below ``admin`` the secrets in it are ``***``.
    """
    workflow = await services.database.workflows.read(workflow_id)
    document, is_masked = await shown_document(workflow.data, scope.caller, services)
    version = version_of(workflow) + (MASKED if is_masked else "")
    headers = {"ETag": etag(version), "Cache-Control": "no-cache"}
    if is_known(if_none_match, version):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    response.headers.update(headers)
    return _view(workflow, document)


@router.put(
    "/{workflow_id:path}",
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
    """Saves a workflow that is there; with ``If-Match`` only in the version that is named.

    A secret that is sent as ``***`` keeps its stored value.
    """
    scope.organization(request.organization_id)
    known = await services.database.workflows.read(workflow_id)
    _refuse_moving(known, request)
    services.submissions.check_size(request.data, "/data")
    workflow = await update_keeping_secrets(
        known, await _change(request), wanted_versions(if_match), services
    )
    return await _saved(workflow, services, scope, response)


@router.delete(
    "/{workflow_id:path}",
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
    """Deletes a workflow and its executions; not while some have not ended, unless forced."""
    running = await services.database.workflows.delete(
        workflow_id, wanted_versions(if_match), force=force
    )
    for execution_id in running:
        services.worker.cancel(execution_id)


def _refuse_moving(known: SavedWorkflow, request: UpdateWorkflowRequest) -> None:
    fixed = (
        ("id", "id", known.id, request.id),
        ("organizationId", "organization_id", known.organization_id, request.organization_id),
    )
    problems = [
        Problem("immutable_field", f"'{name}' is {encode_json(is_)} and stays so", f"/{name}")
        for name, field, is_, sent in fixed
        if field in request.model_fields_set and sent != is_
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


def _view(workflow: SavedWorkflow, document: JsonValue) -> WorkflowResponse:
    return WorkflowResponse(
        id=workflow.id,
        organization_id=workflow.organization_id,
        name=workflow.name,
        tags=json_value(workflow.tags),
        created_at=workflow.created_at,
        updated_at=workflow.updated_at,
        data=document,
    )


async def _saved(
    workflow: SavedWorkflow, services: Services, scope: TenantScope, response: Response
) -> SavedWorkflowResponse:
    errors: list[dict[str, str]] = []
    more = 0
    try:
        await services.submissions.check_in_thread(workflow.data)
    except InvalidDocumentError as refusal:
        errors = [problem.as_json() for problem in refusal.within("/data").problems]
        more = refusal.more
    document, _ = await shown_document(workflow.data, scope.caller, services)
    response.headers["ETag"] = etag(version_of(workflow))
    return SavedWorkflowResponse(
        **_view(workflow, document).model_dump(),
        valid=not errors,
        errors=errors,
        more_errors=more,
    )
