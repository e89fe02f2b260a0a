"""Failure workflows: prepares the executions that failed executions start."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import structlog

from database.executions.failures import PreparedStart
from engine.errors import InvalidDocumentError, Problem
from engine.failures import FAILURE
from engine.graph import TRIGGER, Graph
from engine.inputs import start_as
from engine.json_values import JsonValue, encode_json
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.plan import Plan
from engine.validation import read_and_validate
from tasks.registry import NodeTypes

log = structlog.get_logger()

MAX_CACHED_DOCUMENTS = 64
"""Maximum number of validated failure workflows that are cached."""


@dataclass(slots=True)
class FailureStarts:
    """Prepares executions of failure workflows. Any thread may call it.

    Validated documents are cached, because a transaction waits for the preparation.
    """

    node_types: NodeTypes
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS
    _cached: OrderedDict[str, tuple[Graph, int]] = field(
        default_factory=OrderedDict[str, "tuple[Graph, int]"]
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, document: str, payload: Mapping[str, JsonValue]) -> PreparedStart:
        """Return the start of a document whose trigger nodes receive the payload.

        Raises:
            InvalidDocumentError: If the document cannot run, or has no enabled trigger.
        """
        digest = sha256(document.encode()).hexdigest()
        with self._lock:
            found = self._cached.get(digest)
        if found is None:
            graph = read_and_validate(document, self.node_types.rules, self.limits).graph
            found = graph, len(Plan(graph, start_as(FAILURE, graph, _inputs(graph, {}))).counted)
        with self._lock:
            self._cached[digest] = found
            self._cached.move_to_end(digest)
            if len(self._cached) > MAX_CACHED_DOCUMENTS:
                self._cached.popitem(last=False)
        graph, total_nodes = found
        return PreparedStart(encode_json(_inputs(graph, payload)), total_nodes)


def log_rejected(execution_id: str, workflow_id: str, reason: str) -> None:
    """Log that the failure workflow of an execution was not started."""
    log.error(
        "failure_workflow_not_started",
        execution_id=execution_id,
        workflow_id=workflow_id,
        reason=reason,
    )


def _inputs(graph: Graph, payload: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the payload for each trigger."""
    triggers = [node.id for node in graph.roots if node.type == TRIGGER]
    if not triggers:
        detail = "it has no enabled 'trigger' node, which receives the failed execution"
        raise InvalidDocumentError([Problem("no_trigger", detail, "/nodes")])
    return {node_id: dict(payload) for node_id in triggers}
