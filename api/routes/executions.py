"""Execution routes: submit, poll, cancel, rerun and resume executions."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BeforeValidator, Field

from api.auth.tenancy import TenantScopeDep
from api.bodies.json_responses import encoded
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.masked_documents import reject_masks
from api.schemas.base import ProblemDetails
from api.schemas.executions import (
    CancelResponse,
    ExecuteRequest,
    ExecuteResponse,
    ExecutionResponse,
    LogsResponse,
    RerunRequest,
    RerunResponse,
    ResumeRequest,
    ResumeResponse,
    TokenResponse,
)
from api.schemas.listings import MAX_STATUSES, split_names
from api.schemas.payloads import PAYLOAD_PREVIEW_CHARS
from api.schemas.views import execution_json, execution_response, log_page_json
from database import to_text
from database.queries.log_pages import LogPageRequest
from database.records import Payload
from engine.errors import InvalidInputsError, Problem
from engine.parking import Resumption
from engine.status import ExecutionStatus, has_ended
from flows.intake.submissions import SubmissionRequest

RECENT_LOG_COUNT = 10
"""Number of node runs in the response to a poll."""
MAX_SEQ = 2**31 - 1
LOG_CHARS_ESTIMATE = 500
"""Approximate size of a node run in a response without its payloads, in characters."""

Include = Annotated[
    Annotated[list[Literal["nodeResults"]], Field(max_length=MAX_STATUSES)],
    Query(description="Additional fields: `nodeResults`."),
    BeforeValidator(split_names),
]
AfterSeq = Annotated[int, Query(alias="afterSeq", ge=0, le=MAX_SEQ)]
PageLimit = Annotated[
    int | None,
    Query(ge=1, description="Maximum size of a page; by default `MAX_LOGS_PAGE_SIZE`."),
]
NodeId = Annotated[
    str | None, Query(alias="nodeId", max_length=500, description="Only runs of this node.")
]
Payloads = Annotated[
    bool,
    Query(description="Whether the response contains payloads, or only their sizes."),
]

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictRoute)


@router.post(
    "/workflows/execute",
    operation_id="executeWorkflow",
    responses={status: {"model": ProblemDetails} for status in (404, 422, 429)},
)
async def execute(
    request: ExecuteRequest,
    services: ServicesDep,
    scope: TenantScopeDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ExecuteResponse:
    """Store an execution and return immediately. It runs in the background."""
    organization_id = scope.organization(request.organization_id)
    submission = SubmissionRequest(
        organization_id, request.inputs, idempotency_key, request.callback_url
    )
    if request.graph is not None:
        await reject_masks(request.graph, "/graph", services)
        receipt = await services.submissions.submit_inline(
            request.graph, request.workflow_name, submission
        )
    else:
        assert request.workflow_id is not None  # the schema requires one of the two
        await scope.require_workflow(request.workflow_id)
        receipt = await services.submissions.submit(request.workflow_id, submission)
    response.headers["Location"] = f"/api/executions/{receipt.execution_id}"
    return ExecuteResponse(
        execution_id=receipt.execution_id,
        workflow_id=receipt.workflow_id,
        workflow_name=receipt.workflow_name,
    )


@router.get(
    "/executions/{execution_id}",
    operation_id="getExecution",
    response_model=ExecutionResponse,
    responses={404: {"model": ProblemDetails}, 422: {"model": ProblemDetails}},
)
async def get_execution(
    execution_id: str,
    services: ServicesDep,
    include: Include = [],  # noqa: B006 - FastAPI copies defaults
) -> Response:
    """Return the state of an execution: status, progress, its last node runs and its output."""
    max_characters = services.max_response_characters
    with_results = "nodeResults" in include
    execution, logs = await services.database.queries.execution_with_logs(
        execution_id,
        last=RECENT_LOG_COUNT,
        cut_at=PAYLOAD_PREVIEW_CHARS,
        output_characters=max_characters,
        results_characters=max_characters if with_results else 0,
    )
    position = None
    if execution.status == ExecutionStatus.PENDING:
        position = await services.database.queue.position(execution_id, services.lease_seconds)
    callback = await services.database.callbacks.status(execution_id)
    payloads = [payload for log in logs for payload in (log.input_data, log.output_data)]
    size = _characters(execution.final_output, execution.node_results, *payloads)
    return await encoded(
        size,
        lambda: execution_json(
            execution_response(execution, logs, position, callback),
            execution,
            with_results=with_results,
        ),
    )


@router.get(
    "/executions/{execution_id}/logs",
    operation_id="getExecutionLogs",
    response_model=LogsResponse,
    responses={404: {"model": ProblemDetails}, 422: {"model": ProblemDetails}},
)
async def get_logs(
    execution_id: str,
    services: ServicesDep,
    after_seq: AfterSeq = 0,
    limit: PageLimit = None,
    node_id: NodeId = None,
    payloads: Payloads = True,  # noqa: FBT002 - FastAPI passes it by name
) -> Response:
    """Return the node runs of an execution in the order of their start, with whole payloads.

    ``afterSeq`` is the ``nextSeq`` of an earlier response: it returns the next page, or later
    changes. Another page follows while ``hasMore`` is true.
    """
    page = await services.database.log_pages.read(
        LogPageRequest(
            execution_id,
            after_seq,
            _page_size(limit, services.max_logs_page_size),
            services.max_response_characters,
            payloads,
            node_id,
        )
    )
    size = page.characters + LOG_CHARS_ESTIMATE * len(page.logs)
    return await encoded(size, lambda: log_page_json(execution_id, page))


def _page_size(limit: int | None, maximum: int) -> int:
    """Return the maximum number of rows of a page.

    Raises:
        InvalidInputsError: If ``limit`` is above the setting.
    """
    if limit is not None and limit > maximum:
        detail = f"limit: {limit} is above MAX_LOGS_PAGE_SIZE={maximum}"
        raise InvalidInputsError([Problem("invalid_query", detail, "")])
    return maximum if limit is None else limit


def _characters(*payloads: Payload | None) -> int:
    return sum(len(payload.text) for payload in payloads if payload is not None)


@router.post(
    "/executions/{execution_id}/cancel",
    operation_id="cancelExecution",
    responses={404: {"model": ProblemDetails}},
)
async def cancel(execution_id: str, services: ServicesDep) -> CancelResponse:
    """Request the cancellation of an execution. It ends as soon as none of its nodes runs."""
    previous = await services.database.queue.request_cancel(execution_id)
    services.worker.cancel(execution_id)
    ended = has_ended(previous)
    return CancelResponse(
        success=not ended,
        execution_id=execution_id,
        message=f"The execution is {previous} already" if ended else "Cancellation requested",
        previous_status=previous,
    )


@router.post(
    "/executions/{execution_id}/rerun",
    operation_id="rerunExecution",
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422, 429)},
)
async def rerun(
    execution_id: str,
    services: ServicesDep,
    response: Response,
    request: RerunRequest | None = None,
) -> RerunResponse:
    """Run an execution again, and reuse results that do not depend on the chosen node."""
    body = request or RerunRequest()
    receipt = await services.submissions.rerun(
        execution_id, body.from_node_id, body.inputs, body.callback_url
    )
    response.headers["Location"] = f"/api/executions/{receipt.execution_id}"
    return RerunResponse(
        execution_id=receipt.execution_id,
        workflow_id=receipt.workflow_id,
        workflow_name=receipt.workflow_name,
        rerun_of=execution_id,
    )


@router.post(
    "/executions/{execution_id}/nodes/{node_id}/resume",
    operation_id="resumeNode",
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422)},
)
async def resume(
    execution_id: str,
    node_id: str,
    services: ServicesDep,
    request: ResumeRequest | None = None,
) -> ResumeResponse:
    """Resume a waiting node."""
    body = request or ResumeRequest()
    await services.submissions.resume(execution_id, node_id, Resumption(body.approved, body.data))
    return ResumeResponse(execution_id=execution_id, node_id=node_id)


@router.post(
    "/executions/{execution_id}/token",
    operation_id="createExecutionToken",
    responses={404: {"model": ProblemDetails}},
)
async def create_token(execution_id: str, services: ServicesDep) -> TokenResponse:
    """Create a token with which a browser reads this execution for a limited time."""
    await services.database.queries.organization_of(execution_id)  # raises if it does not exist
    token, claims = services.authenticator.tokens.issue(execution_id)
    expires_at = to_text(claims.expires_at)
    return TokenResponse(token=token, execution_id=execution_id, expires_at=expires_at)
