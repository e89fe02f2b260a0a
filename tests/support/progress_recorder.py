"""What one node's reports become, outside of a service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flows.nodes.attempts import Attempts, current_attempts
from flows.nodes.isolation import isolated
from flows.nodes.progress import NodeProgress, ProgressReporter
from tests.support.virtual_time import run


async def never_retried(attempt: int, error: str) -> None:
    """Ignore retries, because these tests make none."""


class Watcher:
    """Keeps what one node's reports become."""

    def __init__(self, attempts_before: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.written: list[tuple[float, int | None, str | None]] = []
        self.published: list[dict[str, Any]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.reports = ProgressReporter("e1", self.publish)
        self.node: NodeProgress = self.reports.of_node("n1", attempts_before, self.record)

    def publish(self, execution_id: str, message: Any) -> None:
        assert execution_id == message["executionId"] == "e1"
        self.published.append({**message, "at": self.loop.time()})

    async def record(
        self, percentage: int | None, message: str | None, wanted: Callable[[], bool]
    ) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        if wanted():
            self.written.append((round(self.loop.time(), 3), percentage, message))

    async def attempt(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Runs an attempt as a node's task would."""

        async def node() -> Any:
            current_attempts.set(Attempts(never_retried, progress=self.node))
            return await isolated(handler)()  # type: ignore[arg-type]

        return await asyncio.create_task(node())

    @property
    def text(self) -> str:
        return "".join(message["delta"] for message in self.published)


def watched(handler: Callable[[], Awaitable[Any]], attempts_before: int = 0) -> Watcher:
    """Runs one attempt, and on for a while; gives what came of its reports."""

    async def body() -> Watcher:
        watcher = Watcher(attempts_before)
        await watcher.attempt(handler)
        await asyncio.sleep(10)
        await watcher.reports.settle()
        return watcher

    return run(body())
