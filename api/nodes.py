"""Single nodes: try one out without a workflow around it."""

from fastapi import APIRouter

from api.masked_documents import reject_masks
from api.schemas import NodeExecuteAnswer, NodeExecuteRequest, ProblemView
from api.services import UseServices
from api.strict_json import StrictRoute

router = APIRouter(prefix="/api/nodes", tags=["nodes"], route_class=StrictRoute)


@router.post(
    "/execute",
    operation_id="executeNode",
    responses={status: {"model": ProblemView} for status in (400, 422, 429)},
)
async def execute_node(request: NodeExecuteRequest, services: UseServices) -> NodeExecuteAnswer:
    """Runs one node now, with no execution row. A failing node is an answer, not an error."""
    node = {**request.node, "id": request.node_id, "type": request.node_type}
    await reject_masks(node, "/node", services)
    trial = await services.runner.try_node(
        request.node_id, request.node_type, request.node, request.input_data
    )
    output = dict(trial.result.result) if trial.result else None
    return NodeExecuteAnswer(
        success=output is not None,
        node_id=request.node_id,
        node_type=request.node_type,
        output=output,
        message=str(output.get("message") or "Node executed") if output else None,
        error=trial.error,
    )
