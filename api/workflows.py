"""What belongs to one workflow."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.schemas import ExecutionSummaryView, ExecutionsView, ProblemView
from api.services import UseServices

router = APIRouter(prefix="/api/workflows", tags=["workflows"])


# ``path``: an id may hold a slash, and servers hand paths over decoded.
@router.get("/{workflow_id:path}/executions", responses={404: {"model": ProblemView}})
async def list_executions(
    workflow_id: str,
    services: UseServices,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> ExecutionsView:
    """The workflow's executions, newest first."""
    reads = services.database.reads
    workflow = await reads.workflow(workflow_id)
    executions, total = await reads.executions_of(workflow_id, limit)
    return ExecutionsView(
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        executions=[
            ExecutionSummaryView(
                id=execution.id,
                workflow_id=execution.workflow_id,
                status=execution.status,
                created_at=execution.created_at,
                started_at=execution.started_at,
                completed_at=execution.completed_at,
                error=execution.error,
            )
            for execution in executions
        ],
        total=total,
    )
