"""Size limits of documents, node results and executions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class ExecutionLimits:
    """Limits of executions that run at the same time in all services; ``None`` allows any."""

    per_workflow: int | None = None
    """Maximum number of each workflow (MAX_CONCURRENT_EXECUTIONS_PER_WORKFLOW)."""
    per_organization: int | None = None
    """Maximum number of each organization (MAX_CONCURRENT_EXECUTIONS_PER_ORGANIZATION)."""

    def __bool__(self) -> bool:
        return self.per_workflow is not None or self.per_organization is not None


NO_EXECUTION_LIMITS = ExecutionLimits()


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Limits of node runs that run at the same time in all services."""

    per_type: Mapping[str, int] = field(default_factory=dict[str, int])
    """Maximum number by node type (MAX_CONCURRENT_NODES_PER_TYPE)."""
    per_key: Mapping[str, int] = field(default_factory=dict[str, int])
    """Maximum number by ``concurrencyKey`` (MAX_CONCURRENT_NODES_PER_KEY)."""

    def capacities(self, node_type: str, key: str | None, organization: str) -> dict[str, int]:
        """Return the limits of a node run: their names, and the number of permits of each.

        All organizations share a key of the settings. Any other key has one permit in each
        organization, so that organizations cannot delay each other.
        """
        found: dict[str, int] = {}
        if node_type in self.per_type:
            found[f"type:{node_type}"] = self.per_type[node_type]
        if key is not None and key in self.per_key:
            found[f"key:{key}"] = self.per_key[key]
        elif key is not None:
            found[f"key:{organization}:{key}"] = 1
        return found


NO_NODE_LIMITS = NodeLimits()
