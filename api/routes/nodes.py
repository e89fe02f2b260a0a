"""Single nodes: try one out without a workflow around it."""

import sys

from fastapi import APIRouter, Response

from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.masked_documents import reject_masks
from api.schemas.executions import NodeExecuteRequest, NodeExecuteResponse, ProblemDetails
from engine.json_encoding import encode_within, size_within
from engine.json_values import JsonValue
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop

router = APIRouter(prefix="/api/nodes", tags=["nodes"], route_class=StrictRoute)


@router.post(
    "/execute",
    operation_id="executeNode",
    response_model=NodeExecuteResponse,
    responses={status: {"model": ProblemDetails} for status in (400, 422, 429)},
)
async def execute_node(
    request: NodeExecuteRequest, services: ServicesDep
) -> NodeExecuteResponse | Response:
    """Runs one node now, with no execution row. A failing node is an answer, not an error."""
    node = {**request.node, "id": request.node_id, "type": request.node_type}
    await reject_masks(node, "/node", services)
    trial = await services.worker.preview_node(
        request.node_id, request.node_type, request.node, request.input_data
    )
    output = dict(trial.result.result) if trial.result else None
    answer = NodeExecuteResponse(
        success=output is not None,
        node_id=request.node_id,
        node_type=request.node_type,
        output=output,
        message=str(output.get("message") or "Node executed") if output else None,
        error=trial.error,
    )
    if size_within(output, MAX_INLINE_BYTES) is not None:
        return answer
    # FastAPI would encode it on the event loop.
    text = await run_off_loop(_encoded, answer)
    return Response(text, media_type="application/json")


def _encoded(answer: NodeExecuteResponse) -> str:
    output: JsonValue = answer.output
    fields = answer.model_copy(update={"output": None}).model_dump(by_alias=True)
    return encode_within({**fields, "output": output}, sys.maxsize, check_stop, copies=False)[0]
