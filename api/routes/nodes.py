"""Node routes: the catalog of node types, and runs of a single node."""

from fastapi import Response

from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.masked_documents import reject_masks
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.nodes import (
    NodeExecuteRequest,
    NodeExecuteResponse,
    NodeTypeResponse,
    PortResponse,
    PortsResponse,
)
from engine.ports import ERROR_PORT, Port
from flows.encoding import encode_off_loop
from flows.node_catalog import describe_node_types

router = resource_router("/api", "nodes", StrictRoute)


@router.get("/node-types", operation_id="listNodeTypes")
async def list_node_types(services: ServicesDep) -> list[NodeTypeResponse]:
    """List the node types of this service, including those of its plugins."""
    return [
        NodeTypeResponse.of_row(
            described,
            inputs=list(described.inputs),
            outputs=list(described.outputs),
            ports=PortsResponse(
                inputs=[_port(port) for port in described.ports.inputs],
                outputs=[_port(port) for port in (*described.ports.outputs, ERROR_PORT)],
            ),
            config_schema=described.config.schema,
            ui_schema=described.config.ui_schema,
            defaults=described.config.defaults,
            secret_fields=described.config.secret_fields,
            disabled_reason=described.disabled_reason,
        )
        for described in describe_node_types(services.submissions.node_types)
    ]


def _port(port: Port) -> PortResponse:
    return PortResponse(name=port.name, title=port.title or port.name, aliases=list(port.aliases))


@router.post(
    "/nodes/execute",
    operation_id="executeNode",
    response_model=NodeExecuteResponse,
    responses={status: {"model": ProblemDetails} for status in (400, 422, 429)},
)
async def execute_node(request: NodeExecuteRequest, services: ServicesDep) -> Response:
    """Run one node without storing an execution. The response to a failed node is a 200 too."""
    node = {**request.node, "id": request.node_id, "type": request.node_type}
    await reject_masks(node, "/node", services)
    preview = await services.previews.preview_node(
        request.node_id, request.node_type, request.node, request.input_data
    )
    output = None if preview.result is None else dict(preview.result)
    response = NodeExecuteResponse(
        success=output is not None,
        node_id=request.node_id,
        node_type=request.node_type,
        message=str(output.get("message") or "Node executed") if output else None,
        error=preview.error,
    )
    fields = response.model_dump(by_alias=True)
    text = await encode_off_loop({**fields, "output": output})
    return Response(text, media_type="application/json")
