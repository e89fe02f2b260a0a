"""Execution routes: submit, poll, cancel, rerun and resume executions."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Request, Response
from pydantic import BeforeValidator, Field

from api.auth.tenancy import TenantScope, TenantScopeDep
from api.bodies.json_responses import encoded, encoded_model
from api.bodies.strict_json import StrictRoute
from api.dependencies import Services, ServicesDep
from api.etags import IfNoneMatch
from api.masked_documents import reject_masks, shown_document
from api.preferences import Prefer
from api.routes.base import resource_router
from api.routes.execution_states import (
    MAX_WAIT_SEQ_SECONDS,
    started_response,
    state_response,
    wait_for_change,
)
from api.schemas.base import ProblemDetails
from api.schemas.executions import (
    CancelResponse,
    DefinitionResponse,
    ExecuteRequest,
    ExecuteResponse,
    ExecutionResponse,
    LogsResponse,
    RerunPlanResponse,
    RerunRequest,
    RerunResponse,
    ResumeRequest,
    ResumeResponse,
    TokenResponse,
)
from api.schemas.listings import MAX_STATUSES, split_names
from api.schemas.views import log_page_json
from database import to_text
from database.queries.log_pages import LogPageRequest
from engine.errors import InvalidRequestError, Problem
from engine.parking import Resumption
from engine.status import has_ended
from flows.intake.reruns import Rerun, RerunService
from flows.intake.submissions import SubmissionRequest

MAX_SEQ = 2**31 - 1
LOG_CHARS_ESTIMATE = 500
"""Approximate size of a node run in a response without its payloads, in characters."""

Include = Annotated[
    Annotated[list[Literal["nodeResults"]], Field(max_length=MAX_STATUSES)],
    Query(description="Additional fields: `nodeResults`."),
    BeforeValidator(split_names),
]
AfterSeq = Annotated[int, Query(alias="afterSeq", ge=0, le=MAX_SEQ)]
WaitSeq = Annotated[
    int | None,
    Query(alias="waitSeq", ge=0, le=MAX_SEQ, description="Wait until `seq` is larger than this."),
]
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
MaxPayload = Annotated[
    int | None,
    Query(
        alias="maxPayloadCharacters",
        ge=1,
        le=MAX_SEQ,
        description="Of a larger payload, the response contains only the start and the size.",
    ),
]


class ExecutionRoute(StrictRoute):
    """A route whose polls without parameters pass FastAPI's dependencies by.

    Clients send most polls without parameters, and resolving the dependencies and the parameters
    takes a third of the time of such a poll.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with a shorter way for polls without parameters."""
        handle = super().get_route_handler()
        if self.operation_id != "getExecution":
            return handle

        async def poll(request: Request) -> Response:
            if request.scope["query_string"]:
                return await handle(request)
            services: Services = request.app.state.services
            execution_id = request.path_params["execution_id"]
            scope = TenantScope(request.scope["caller"], services.database.queries)
            await scope.require_execution(execution_id)
            known = request.headers.getlist("if-none-match") or None
            return await state_response(services, execution_id, if_none_match=known)

        return poll


router = resource_router("/api", "executions", ExecutionRoute)


@router.post(
    "/workflows/execute",
    operation_id="executeWorkflow",
    response_model=ExecuteResponse | ExecutionResponse,
    responses={status: {"model": ProblemDetails} for status in (404, 422, 429)},
)
async def execute(
    request: ExecuteRequest,
    http_request: Request,
    services: ServicesDep,
    scope: TenantScopeDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    prefer: Prefer = None,
) -> Response:
    """Store an execution and return immediately. It runs in the background.

    With `Prefer: wait=N`, the response is that of `getExecution` if the execution ends in time.
    """
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
    started = ExecuteResponse.of_row(receipt)
    return await started_response(http_request, services, started, prefer)


@router.get(
    "/executions/{execution_id}",
    operation_id="getExecution",
    response_model=ExecutionResponse,
    responses={
        HTTPStatus.NOT_MODIFIED: {"description": "The client already has this state"},
        404: {"model": ProblemDetails},
        422: {"model": ProblemDetails},
    },
)
async def get_execution(
    execution_id: str,
    request: Request,
    services: ServicesDep,
    include: Include = [],  # noqa: B006 - FastAPI copies defaults
    wait_seq: WaitSeq = None,
    max_payload_characters: MaxPayload = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return the state of an execution: status, progress, its last node runs and its output.

    With `waitSeq`, the response arrives when the sequence number `seq` of the execution is larger,
    or when it has ended, after 30 seconds at the latest.
    """
    if wait_seq is not None:
        await wait_for_change(request, services, execution_id, MAX_WAIT_SEQ_SECONDS, wait_seq)
    return await state_response(
        services,
        execution_id,
        with_results="nodeResults" in include,
        max_payload=max_payload_characters,
        if_none_match=if_none_match,
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
    max_payload_characters: MaxPayload = None,
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
            max_payload_characters if payloads else 0,
            node_id,
        )
    )
    size = page.characters + LOG_CHARS_ESTIMATE * len(page.logs)
    return await encoded(size, lambda: log_page_json(execution_id, page))


def _page_size(limit: int | None, maximum: int) -> int:
    """Return the maximum number of rows of a page.

    Raises:
        InvalidRequestError: If ``limit`` is above the setting.
    """
    if limit is not None and limit > maximum:
        detail = f"limit: {limit} is above MAX_LOGS_PAGE_SIZE={maximum}"
        raise InvalidRequestError([Problem("invalid_query", detail, "")])
    return maximum if limit is None else limit


@router.get(
    "/executions/{execution_id}/definition",
    operation_id="getExecutionDefinition",
    response_model=DefinitionResponse,
    responses={404: {"model": ProblemDetails}},
)
async def get_definition(
    execution_id: str, services: ServicesDep, scope: TenantScopeDep
) -> Response:
    """Return the workflow that an execution runs, as it was at its submission.

    For roles below `admin` its secrets are `***`. 404 if another program created the execution.
    """
    definition = await services.database.definitions.read(execution_id)
    document, _ = await shown_document(definition.document, scope.caller, services)
    return await encoded_model(
        len(definition.document),
        lambda: DefinitionResponse(
            execution_id=execution_id,
            workflow_id=definition.workflow_id,
            workflow_name=definition.workflow_name,
            data=document,
        ),
    )


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
    response_model=RerunResponse | RerunPlanResponse | ExecutionResponse,
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422, 429)},
)
async def rerun(
    execution_id: str,
    services: ServicesDep,
    http_request: Request,
    request: RerunRequest | None = None,
    prefer: Prefer = None,
) -> Response:
    """Run an execution again, and reuse results that do not depend on the chosen node.

    With another definition, a result is reused only if the configs of the node and of all its
    ancestors are unchanged. With `dryRun`, nothing is stored. With `Prefer: wait=N`, the response
    is that of `getExecution` if the execution ends in time.
    """
    body = request or RerunRequest()
    if body.graph is not None:
        if body.definition is not None:
            detail = "'definition' cannot be combined with 'graph'"
            raise InvalidRequestError([Problem("conflicting_fields", detail, "/definition")])
        services.submissions.check_size(body.graph, "/graph")
        await reject_masks(body.graph, "/graph", services)
    prepared = await RerunService(services.submissions).prepare(
        execution_id,
        Rerun(
            body.from_node_id,
            body.inputs,
            body.callback_url,
            body.definition or "original",
            body.graph,
        ),
    )
    will_run, taken_over = prepared.will_run, prepared.taken_over
    if body.dry_run:
        plan = RerunPlanResponse(rerun_of=execution_id, will_run=will_run, taken_over=taken_over)
        return await encoded_model(len(prepared.submission.document), lambda: plan)
    receipt = await services.submissions.store(prepared.submission)
    started = RerunResponse.of_row(
        receipt, rerun_of=execution_id, will_run=will_run, taken_over=taken_over
    )
    return await started_response(http_request, services, started, prefer)


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
    await services.human_tasks.resume(execution_id, node_id, Resumption(body.approved, body.data))
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
