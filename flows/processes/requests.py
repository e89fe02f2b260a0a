"""Service requests: handles the messages of the service in an execution process."""

from collections.abc import Mapping
from typing import Any, cast

import structlog

from engine.document import Node
from engine.json_values import JsonValue
from flows.nodes.node_runner import NodeRunner
from flows.nodes.preview import NodePreview, run_preview
from flows.processes.messages import Kind, Message, large_message_frame
from flows.processes.service_link import ServiceLink
from flows.worker.state import WorkerSettings
from flows.worker.worker import Worker
from metric_families import export_families
from metrics import Metrics
from tasks.registry import NodeTypes

log = structlog.get_logger()


class ServiceRequests:
    """Passes the messages of the service to the worker of this process."""

    def __init__(
        self,
        worker: Worker,
        node_types: NodeTypes,
        settings: WorkerSettings,
        metrics: Metrics,
        link: ServiceLink,
    ) -> None:
        self._worker = worker
        self._runner = NodeRunner(node_types, settings.handler_settings, limits=settings.run_limits)
        self._metrics = metrics
        self._link = link

    def accept(self, message: Message) -> bool:
        """Handle a message; return whether it is not the request to stop."""
        match message["kind"]:
            case Kind.STOP:
                return False
            case Kind.CLAIM:
                self._worker.wake()
            case Kind.POLL:
                self._worker.poll()
            case Kind.COLLECT:
                self._link.send(Kind.METRICS, families=export_families(self._metrics.registry))
            case Kind.RUN_NODE:
                self._worker.submit(lambda: self._run_node(message))
            case unknown:
                log.error("unknown_service_message", kind=unknown)
        return True

    async def _run_node(self, message: Message) -> None:
        node = Node(**cast("Mapping[str, Any]", message["node"]))
        input_data: JsonValue = message["inputData"]
        preview = NodePreview(node, input_data, self._runner)
        await run_preview(preview)
        result = None if preview.result is None else dict(preview.result)
        fields = {"id": message["id"], "result": result, "error": preview.error}
        self._link.send_frame(await large_message_frame(Kind.NODE_ENDED, **fields))
