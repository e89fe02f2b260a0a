"""The catalogue of node types, from which the editor draws its palette and its forms."""

from fastapi import APIRouter

from api.dependencies import ServicesDep
from api.schemas.executions import NodeTypeResponse, PortResponse, PortsResponse
from engine.ports import ERROR_PORT, Port
from flows.node_catalog import catalogue

router = APIRouter(prefix="/api", tags=["nodes"])


@router.get("/node-types", operation_id="listNodeTypes")
async def list_node_types(services: ServicesDep) -> list[NodeTypeResponse]:
    """Every node type that this service knows, those of your own too."""
    return [
        NodeTypeResponse(
            type=item.type,
            title=item.title,
            description=item.description,
            category=item.category,
            inputs=list(item.inputs),
            outputs=list(item.outputs),
            ports=PortsResponse(
                inputs=[_port(port) for port in item.ports.inputs],
                outputs=[*(_port(port) for port in item.ports.outputs), _port(ERROR_PORT)],
            ),
            config_schema=item.config.schema,
            ui_schema=item.config.ui_schema,
            defaults=item.config.defaults,
            secret_fields=item.config.secret_fields,
            off=item.off,
        )
        for item in catalogue(services.submissions.node_types)
    ]


def _port(port: Port) -> PortResponse:
    return PortResponse(name=port.name, title=port.title or port.name, aliases=list(port.aliases))
