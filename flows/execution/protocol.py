"""Node executor protocol: the interface between the executor and the module that runs nodes."""

from typing import Protocol

from engine.document import Node
from engine.json_values import JsonValue
from flows.nodes.progress import NodeProgress
from flows.nodes.result import NodeResult
from flows.nodes.retry_policy import OnRetry
from tracing import ExecutionTrace, TracedNode


class NodeExecutor(Protocol):
    """Runs nodes; the executor decides which ones and when."""

    @property
    def trace(self) -> ExecutionTrace:
        """The trace of the execution."""
        ...

    async def run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        progress: NodeProgress,
        failed: int = 0,
    ) -> NodeResult:
        """Run all attempts of one node; return the result of the successful one.

        ``on_retry`` is called before each further attempt. ``failed`` attempts were made in earlier
        runs of the node, and count as retries.

        Raises:
            RetryParkedError: If another call must make the next attempt, after a pause.
            PermitParkedError: If another call must make the attempt, when a permit is free.
            Exception: If the last attempt failed.
        """
        ...

    def waiting_for_permits(self) -> int:
        """Return the number of node runs that wait for a permit of a limit."""
        ...

    def park_waiting(self) -> None:
        """End these node runs with a ``PermitParkedError``, and keep their requests."""
        ...

    def interrupts(self, node: Node) -> bool:
        """Return whether the node's handler stops when it is cancelled."""
        ...

    def traced(self, node: Node) -> TracedNode:
        """Return the data of a node run for its span."""
        ...

    def is_pure(self, node: Node) -> bool:
        """Return whether the node's handler has no effect outside, so that it may run twice."""
        ...
