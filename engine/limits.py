"""Size limits of documents, node results and executions."""

from dataclasses import dataclass

from engine.errors import InvalidDocumentError, NodeError, PermanentError, Problem
from engine.json_values import JsonValue, is_list, is_object


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """Limits of a workflow document that is saved, validated or submitted."""

    nodes: int = 5_000
    """Maximum number of nodes (MAX_WORKFLOW_NODES)."""
    connections: int = 20_000
    """Maximum number of connections (MAX_WORKFLOW_CONNECTIONS)."""

    def check(self, document: JsonValue) -> None:
        """Raise an ``InvalidDocumentError`` that names the setting for too many parts."""
        if not is_object(document):
            return
        of_nodes = ("nodes", self.nodes, "MAX_WORKFLOW_NODES")
        of_connections = ("connections", self.connections, "MAX_WORKFLOW_CONNECTIONS")
        limits = {"nodes": of_nodes, "connections": of_connections, "edges": of_connections}
        problems = [
            Problem(
                f"too_many_{what}",
                f"the document has {count} {what}, the maximum is {maximum} ({setting})",
                f"/{key}",
            )
            for key, (what, maximum, setting) in limits.items()
            if (count := _length(document.get(key))) > maximum
        ]
        if problems:
            raise InvalidDocumentError(problems)


def _length(items: JsonValue) -> int:
    return len(items) if is_list(items) else 0


DEFAULT_DOCUMENT_LIMITS = DocumentLimits()


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of an execution and of its node runs."""

    node_result_bytes: int = 16 * 1024 * 1024
    """Maximum size of the result of a node as JSON (MAX_NODE_RESULT_BYTES)."""
    execution_bytes: int = 512 * 1024 * 1024
    """Maximum size of the data that an execution stores (MAX_EXECUTION_BYTES)."""
    concurrent_nodes: int = 100
    """Maximum number of node runs in flight of an execution (MAX_CONCURRENT_NODES)."""

    def result_too_large(self, what: str = "the result of the node") -> NodeError:
        """Return the error of a node whose result has too many bytes."""
        return PermanentError(
            f"{what} is larger than {self.node_result_bytes} bytes of JSON (MAX_NODE_RESULT_BYTES)"
        )

    def execution_too_large(self, what: str) -> NodeError:
        """Return the error of a node after which the execution would store too much."""
        return PermanentError(
            f"with {what} the execution would store more than {self.execution_bytes} bytes "
            "(MAX_EXECUTION_BYTES)"
        )


DEFAULT_RUN_LIMITS = RunLimits()
