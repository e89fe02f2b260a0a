"""Executions: submit one, look at it, cancel it, run it again, let it go on."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BeforeValidator, Field

from api.auth.tenancy import TenantScopeDep
from api.bodies.json_responses import encoded
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.masked_documents import reject_masks
from api.schemas.executions import (
    CancelResponse,
    ExecuteRequest,
    ExecuteResponse,
    ExecutionResponse,
    LogsResponse,
    ProblemDetails,
    RerunRequest,
    RerunResponse,
    ResumeRequest,
    ResumeResponse,
    TokenResponse,
)
from api.schemas.listings import MAX_STATUSES, split_names
from api.schemas.views import (
    PAYLOAD_PREVIEW_CHARS,
    execution_json,
    execution_response,
    log_page_json,
)
from database import to_text
from database.queries.log_pages import LogPageRequest
from database.records import Payload
from engine.errors import InvalidInputsError, Problem
from engine.parking import Resumption
from engine.status import ExecutionStatus, has_ended
from flows.intake.submissions import SubmissionRequest

RECENT_LOG_COUNT = 10
MAX_SEQ = 2**31 - 1
LOG_CHARS_ESTIMATE = 500
"""About the size of a node run in a response, without its payloads."""

Include = Annotated[
    Annotated[list[Literal["nodeResults"]], Field(max_length=MAX_STATUSES)],
    Query(description="Further fields: `nodeResults`."),
    BeforeValidator(split_names),
]
AfterSeq = Annotated[int, Query(alias="afterSeq", ge=0, le=MAX_SEQ)]
PageLimit = Annotated[
    int | None,
    Query(ge=1, description="How many a page has at most; `MAX_LOGS_PAGE_SIZE` without it."),
]
NodeId = Annotated[
    str | None, Query(alias="nodeId", max_length=500, description="Only the runs of this node.")
]
Payloads = Annotated[
    bool,
    Query(description="Whether payloads are read; without them, only their sizes are shown."),
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
    """Stores an execution and answers at once; it runs in the background."""
    organization_id = scope.organization(request.organization_id)
    submission = SubmissionRequest(
        organization_id, request.inputs, idempotency_key, request.callback_url
    )
    if request.graph is not None:
        await reject_masks(request.graph, "/graph", services)
        accepted = await services.submissions.submit_inline(
            request.graph, request.workflow_name, submission
        )
    else:
        assert request.workflow_id is not None  # the request model requires one of the two
        await scope.see_workflow(request.workflow_id)
        accepted = await services.submissions.submit(request.workflow_id, submission)
    response.headers["Location"] = f"/api/executions/{accepted.execution_id}"
    return ExecuteResponse(
        execution_id=accepted.execution_id,
        workflow_id=accepted.workflow_id,
        workflow_name=accepted.workflow_name,
    )


@router.get(
    "/executions/{execution_id}",
    operation_id="getExecution",
    response_model=ExecutionResponse,
    responses={404: {"model": ProblemDetails}, 422: {"model": ProblemDetails}},
)
async def read_execution(
    execution_id: str,
    services: ServicesDep,
    include: Include = [],  # noqa: B006 - FastAPI copies defaults
) -> Response:
    """How an execution stands: status, progress, the last logs, the output."""
    most = services.max_response_characters
    with_results = "nodeResults" in include
    execution, logs = await services.database.queries.execution_with_logs(
        execution_id,
        last=RECENT_LOG_COUNT,
        cut_at=PAYLOAD_PREVIEW_CHARS,
        output_characters=most,
        results_characters=most if with_results else 0,
    )
    position = None
    if execution.status == ExecutionStatus.PENDING:
        position = await services.database.queue.position(execution_id, services.lease_seconds)
    callback = await services.database.callbacks.status(execution_id)
    texts = [(log.input_data, log.output_data) for log in logs]
    size = _characters(execution.final_output, execution.node_results, *sum(texts, ()))
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
async def read_logs(
    execution_id: str,
    services: ServicesDep,
    after_seq: AfterSeq = 0,
    limit: PageLimit = None,
    node_id: NodeId = None,
    payloads: Payloads = True,  # noqa: FBT002 - FastAPI passes it by name
) -> Response:
    """The node runs of an execution in the order of start, payloads whole, page by page.

    With ``afterSeq``: what changed since the response whose ``nextSeq`` it was, or the next page
    of it. Another page follows while ``hasMore`` is true.
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


def _page_size(limit: int | None, most: int) -> int:
    """Return the number of rows of a page.

    Raises:
        InvalidInputsError: If ``limit`` is above the setting.
    """
    if limit is not None and limit > most:
        detail = f"limit: {limit} is above MAX_LOGS_PAGE_SIZE={most}"
        raise InvalidInputsError([Problem("invalid_query", detail, "")])
    return most if limit is None else limit


def _characters(*payloads: Payload | None) -> int:
    return sum(len(payload.text) for payload in payloads if payload is not None)


@router.post(
    "/executions/{execution_id}/cancel",
    operation_id="cancelExecution",
    responses={404: {"model": ProblemDetails}},
)
async def cancel(execution_id: str, services: ServicesDep) -> CancelResponse:
    """Stops an execution. It is ``cancelled`` as soon as nothing of it runs any more."""
    previous = await services.database.queue.request_cancel(execution_id)
    services.worker.cancel(execution_id)
    done = has_ended(previous)
    return CancelResponse(
        success=not done,
        execution_id=execution_id,
        message=f"The execution is {previous} already" if done else "Cancellation requested",
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
    """Runs an execution again, taking over what is done and not downstream of the chosen node."""
    wanted = request or RerunRequest()
    accepted = await services.submissions.rerun(
        execution_id, wanted.from_node_id, wanted.inputs, wanted.callback_url
    )
    response.headers["Location"] = f"/api/executions/{accepted.execution_id}"
    return RerunResponse(
        execution_id=accepted.execution_id,
        workflow_id=accepted.workflow_id,
        workflow_name=accepted.workflow_name,
        rerun_of=execution_id,
    )


@router.post(
    # ``path``: a node id may contain a slash, which servers decode before they match a path.
    "/executions/{execution_id}/nodes/{node_id:path}/resume",
    operation_id="resumeNode",
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422)},
)
async def resume(
    execution_id: str,
    node_id: str,
    services: ServicesDep,
    request: ResumeRequest | None = None,
) -> ResumeResponse:
    """Lets a node that waits go on."""
    said = request or ResumeRequest()
    resumption = Resumption(said.approved, said.data)
    await services.submissions.resume(execution_id, node_id, resumption)
    return ResumeResponse(execution_id=execution_id, node_id=node_id)


@router.post(
    "/executions/{execution_id}/token",
    operation_id="createExecutionToken",
    responses={404: {"model": ProblemDetails}},
)
async def make_token(execution_id: str, services: ServicesDep) -> TokenResponse:
    """A token that reads this execution and nothing else, and for a while: for browsers."""
    await services.database.queries.organization_of(execution_id)  # there is one
    token, said = services.access.tokens.issue(execution_id)
    return TokenResponse(
        token=token, execution_id=execution_id, expires_at=to_text(said.expires_at)
    )
