"""Executions: submit one, look at it, cancel it, run it again, let it go on."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.masked_documents import reject_masks
from api.schemas import (
    CancelAnswer,
    ExecuteAnswer,
    ExecuteRequest,
    ExecutionView,
    LogsView,
    ProblemView,
    RerunAnswer,
    RerunRequest,
    ResumeAnswer,
    ResumeRequest,
    TokenAnswer,
)
from api.scope import UseScope
from api.services import UseServices
from api.strict_json import StrictRoute
from api.views import CUT_AT, execution_view, log_view
from database import to_text
from engine.parking import Resumption
from engine.status import TERMINAL, ExecutionStatus

POLLED_LOGS = 10
MAX_SEQ = 2**31 - 1

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictRoute)


@router.post(
    "/workflows/execute",
    operation_id="executeWorkflow",
    responses={status: {"model": ProblemView} for status in (404, 422, 429)},
)
async def execute(
    request: ExecuteRequest,
    services: UseServices,
    scope: UseScope,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ExecuteAnswer:
    """Stores an execution and answers at once; it runs in the background."""
    organization_id = scope.organization(request.organization_id)
    if request.graph is not None:
        await reject_masks(request.graph, "/graph", services)
        accepted = await services.submissions.submit_unsaved(
            request.graph,
            request.workflow_name,
            request.inputs,
            organization_id,
            idempotency_key,
            request.callback_url,
        )
    else:
        assert request.workflow_id is not None  # one of the two is there
        await scope.see_workflow(request.workflow_id)
        accepted = await services.submissions.submit(
            request.workflow_id,
            request.inputs,
            organization_id,
            idempotency_key,
            request.callback_url,
        )
    response.headers["Location"] = f"/api/executions/{accepted.execution_id}"
    return ExecuteAnswer(
        execution_id=accepted.execution_id,
        workflow_id=accepted.workflow_id,
        workflow_name=accepted.workflow_name,
    )


@router.get(
    "/executions/{execution_id}",
    operation_id="readExecution",
    responses={404: {"model": ProblemView}},
)
async def read_execution(execution_id: str, services: UseServices) -> ExecutionView:
    """How an execution stands: status, progress, the last logs, the output."""
    execution, logs = await services.database.reads.execution_with_logs(
        execution_id, last=POLLED_LOGS, cut_at=CUT_AT
    )
    position = None
    if execution.status == ExecutionStatus.PENDING:
        position = await services.database.queue.position(execution_id, services.lease_seconds)
    callback = await services.database.callbacks.state(execution_id)
    return execution_view(execution, logs, position, callback)


@router.get(
    "/executions/{execution_id}/logs",
    operation_id="readExecutionLogs",
    responses={404: {"model": ProblemView}},
)
async def read_logs(
    execution_id: str,
    services: UseServices,
    after_seq: Annotated[int, Query(alias="afterSeq", ge=0, le=MAX_SEQ)] = 0,
) -> LogsView:
    """Every node run of an execution in the order of start, payloads whole; with ``afterSeq`` only
    what changed since the answer whose ``nextSeq`` it was.
    """
    execution, logs = await services.database.reads.execution_with_logs(
        execution_id, after_seq=after_seq
    )
    return LogsView(
        execution_id=execution_id, next_seq=execution.seq, logs=[log_view(log) for log in logs]
    )


@router.post(
    "/executions/{execution_id}/cancel",
    operation_id="cancelExecution",
    responses={404: {"model": ProblemView}},
)
async def cancel(execution_id: str, services: UseServices) -> CancelAnswer:
    """Stops an execution. It is ``cancelled`` as soon as nothing of it runs any more."""
    previous = await services.database.queue.request_cancel(execution_id)
    services.runner.cancel(execution_id)
    done = previous in TERMINAL
    return CancelAnswer(
        success=not done,
        execution_id=execution_id,
        message=f"The execution is {previous} already" if done else "Cancellation requested",
        previous_status=previous,
    )


@router.post(
    "/executions/{execution_id}/rerun",
    operation_id="rerunExecution",
    responses={status: {"model": ProblemView} for status in (404, 409, 422, 429)},
)
async def rerun(
    execution_id: str,
    services: UseServices,
    response: Response,
    request: RerunRequest | None = None,
) -> RerunAnswer:
    """Runs an execution again, taking over what is done and not downstream of the chosen node."""
    wanted = request or RerunRequest()
    accepted = await services.submissions.rerun(
        execution_id, wanted.from_node_id, wanted.inputs, wanted.callback_url
    )
    response.headers["Location"] = f"/api/executions/{accepted.execution_id}"
    return RerunAnswer(
        execution_id=accepted.execution_id,
        workflow_id=accepted.workflow_id,
        workflow_name=accepted.workflow_name,
        rerun_of=execution_id,
    )


@router.post(
    "/executions/{execution_id}/nodes/{node_id}/resume",
    operation_id="resumeNode",
    responses={status: {"model": ProblemView} for status in (404, 409, 422)},
)
async def resume(
    execution_id: str,
    node_id: str,
    services: UseServices,
    request: ResumeRequest | None = None,
) -> ResumeAnswer:
    """Lets a node that waits go on."""
    said = request or ResumeRequest()
    resumption = Resumption(said.approved, said.data)
    await services.submissions.resume(execution_id, node_id, resumption)
    return ResumeAnswer(execution_id=execution_id, node_id=node_id)


@router.post(
    "/executions/{execution_id}/token",
    operation_id="makeExecutionToken",
    responses={404: {"model": ProblemView}},
)
async def make_token(execution_id: str, services: UseServices) -> TokenAnswer:
    """A token that reads this execution and nothing else, and for a while: for browsers."""
    await services.database.reads.organization_of(execution_id)  # there is one
    token, said = services.access.tokens.issue(execution_id)
    return TokenAnswer(token=token, execution_id=execution_id, expires_at=to_text(said.expires_at))
