"""What a walk asks of whoever runs its nodes."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from engine.document import Node
from engine.json_values import JsonValue
from flows.nodes.progress import NodeProgress
from flows.nodes.result import NodeResult

OnRetry = Callable[[int, str], Awaitable[None]]
"""Told of each attempt that failed and is followed by another: its number, and why it failed."""


class NodeExecutor(Protocol):
    """Runs nodes; the walk decides which and when."""

    async def run(
        self,
        node: Node,
        input_data: JsonValue,
        on_retry: OnRetry,
        reports: NodeProgress,
        failed: int = 0,
    ) -> NodeResult:
        """Runs one node with its input, all attempts of it. Raises when it failed.

        Args:
            node: the node.
            input_data: its input.
            on_retry: is told of attempts that failed and are followed by another.
            reports: takes the node's reports.
            failed: the attempts that failed in earlier runs of the node; they count as retries.

        Raises:
            RetryParkedError: If the next attempt is to be made by another call, after a pause.
        """
        ...

    def interrupts(self, node: Node) -> bool:
        """Whether the node stops when it is cancelled."""
        ...
