"""Executions: submit one, look at it, cancel it."""

from fastapi import APIRouter, Response

from api.schemas import (
    CancelAnswer,
    ExecuteAnswer,
    ExecuteRequest,
    ExecutionView,
    LogsView,
    ProblemView,
)
from api.services import UseServices
from api.strict_json import StrictRoute
from api.views import CUT_AT, execution_view, log_view
from engine.status import TERMINAL

POLLED_LOGS = 10

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictRoute)


@router.post(
    "/workflows/execute",
    responses={404: {"model": ProblemView}, 422: {"model": ProblemView}},
)
async def execute(
    request: ExecuteRequest, services: UseServices, response: Response
) -> ExecuteAnswer:
    """Stores an execution and answers at once; it runs in the background."""
    accepted = await services.submissions.submit(
        request.workflow_id, request.inputs, request.organization_id
    )
    response.headers["Location"] = f"/api/executions/{accepted.execution_id}"
    return ExecuteAnswer(
        execution_id=accepted.execution_id,
        workflow_id=accepted.workflow_id,
        workflow_name=accepted.workflow_name,
    )


@router.get("/executions/{execution_id}", responses={404: {"model": ProblemView}})
async def read_execution(execution_id: str, services: UseServices) -> ExecutionView:
    """How an execution stands: status, progress, the last logs, the output."""
    execution, logs = await services.database.reads.execution_with_logs(
        execution_id, last=POLLED_LOGS, cut_at=CUT_AT
    )
    return execution_view(execution, logs)


@router.get("/executions/{execution_id}/logs", responses={404: {"model": ProblemView}})
async def read_logs(execution_id: str, services: UseServices) -> LogsView:
    """Every node run of an execution in the order of start, payloads whole."""
    _, logs = await services.database.reads.execution_with_logs(execution_id)
    return LogsView(execution_id=execution_id, logs=[log_view(log) for log in logs])


@router.post("/executions/{execution_id}/cancel", responses={404: {"model": ProblemView}})
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
