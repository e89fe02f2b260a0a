"""Node type SDK: the single import for authors of node types.

``docs/howto/write-a-node-type.md`` describes the names and contains a complete node type. Handlers
that use only Prefect's ``task`` and a dict ``NODE_HANDLERS`` do not need this module.
"""

from typing import Any

from prefect import Task, task
from pydantic import Field

from engine.errors import NodeError
from engine.ports import Port
from offload import check_stop
from tasks.compute import compute
from tasks.config.base import TEMPLATED, FormModel, NodeConfig, fill, read_config
from tasks.config.fields import SECRET
from tasks.config.json_schema import WIDGET
from tasks.context import current_node_run
from tasks.http.client import new_client
from tasks.progress import report_progress, send_delta

__all__ = [
    "SECRET",
    "TEMPLATED",
    "WIDGET",
    "Field",
    "FormModel",
    "NodeConfig",
    "NodeError",
    "Port",
    "check_stop",
    "compute",
    "current_node_run",
    "fill",
    "new_client",
    "read_config",
    "register",
    "report_progress",
    "send_delta",
    "task",
]


def register(
    node_type: str, handler: Task[..., Any], config: type[NodeConfig] = NodeConfig
) -> None:
    """Add a node type, or raise a ``ValueError``; see ``tasks.node_handlers.register``."""
    # Imported here because ``tasks/node_handlers.py`` may import the author's module.
    from tasks import node_handlers  # noqa: PLC0415

    node_handlers.register(node_type, handler, config)
